"""A random scene: daylight, camera, road, traffic and clutter, from one random generator."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tasks.scenes.buildings import house
from tasks.scenes.camera import Camera, Light, Point, Shape, to_local
from tasks.scenes.clutter import barrier, bush, cone, crate, person, sign, street_lamp, traffic_light, tree
from tasks.scenes.road import Road
from tasks.scenes.semantics import BUILDING, OBJECT, PERSON, VEGETATION
from tasks.scenes.vehicle import Vehicle
from tasks.scenes.vehicles import KINDS

SETTINGS = ("city", "suburb", "country")
_SHARES = {"car": 0.29, "truck": 0.25, "bus": 0.25, "two_wheeler": 0.21}  # before those that do not fit in are left out
_REACH = {"car": 1.0, "truck": 1.35, "bus": 1.4, "two_wheeler": 0.62}  # so that no class is told by its size
_NEAREST_M, _FARTHEST_M = 8.5, 62.0
_MOST_HIDDEN = 0.35  # of a vehicle's outline box, by that of another
_LEAST_INSIDE = 0.5  # of a vehicle's outline box, by the picture
_SMALLEST = 14 / 320  # of an object's longer side, as a share of the picture's longer side


@dataclass(frozen=True)
class Placed:
    """A vehicle or a thing where it stands.

    Attributes:
        position: World coordinates of its origin.
        heading: Direction of its x axis, radians.
        shapes: What an eye at a place in its own coordinates sees.
        label: Semantic class of a thing; vehicles get theirs when they are drawn.
        footprint: Half length, half width and height, metres.
        vehicle: The vehicle, if it is one.
        speed: Motion blur, as a share of the vehicle's length.
    """

    position: Point
    heading: float
    shapes: Callable[[Point], list[Shape]]
    label: int
    footprint: tuple[float, float, float]
    vehicle: Vehicle | None = None
    speed: float = 0.0

    def eye(self, camera: Camera) -> Point:
        """The camera in its coordinates."""
        return to_local((0.0, 0.0, camera.height_m), self.position, self.heading)

    def corners(self) -> list[Point]:
        """Its four corners on the ground."""
        a, b, _ = self.footprint
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return [
            (self.position[0] + x * cos - y * sin, self.position[1] + x * sin + y * cos, 0.0)
            for x, y in ((a, b), (a, -b), (-a, -b), (-a, b))
        ]

    def outline(self, camera: Camera) -> tuple[float, float, float, float]:
        """The box on the canvas, xyxy, that its eight corners span; not cut at the canvas's edges."""
        tall = self.footprint[2]
        pixels = camera.project(np.array([(x, y, z) for x, y, _ in self.corners() for z in (0.0, tall)]))
        return (*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist())


@dataclass(frozen=True)
class World:
    """All that is drawn."""

    light: Light
    camera: Camera
    road: Road
    setting: str
    buildings: tuple[tuple[tuple[float, float, float, float], float], ...]
    things: tuple[Placed, ...]
    vehicles: tuple[Placed, ...]


def draw_light(rng: Generator) -> Light:
    """A time of day and its weather."""
    name = ("day", "overcast", "dusk", "night")[int(rng.choice(4, p=[0.48, 0.25, 0.17, 0.10]))]
    azimuth = rng.uniform(0, math.tau)
    elevation = {"day": rng.uniform(0.5, 1.2), "overcast": 1.2, "dusk": rng.uniform(0.16, 0.4), "night": 0.9}[name]
    direction = (math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation))
    warm = rng.uniform(0.96, 1.04)
    if name == "day":
        blue = rng.uniform(0, 30)
        sky = ((70.0 + blue, 126.0 + blue, 200.0), (196.0, 214.0, 232.0))
        return Light(
            name,
            (0.56, 0.59, 0.64),
            (0.58 * warm, 0.54, 0.46),
            direction,
            rng.uniform(0.35, 0.5),
            sky,
            rng.uniform(160, 400),
            False,
        )
    if name == "overcast":
        grey = rng.uniform(-18, 12)
        sky = ((158.0 + grey, 166.0 + grey, 176.0 + grey), (204.0 + grey, 208.0 + grey, 212.0 + grey))
        return Light(
            name, (0.76, 0.78, 0.81), (0.14, 0.14, 0.14), direction, 0.0, sky, rng.uniform(70, 220), rng.random() < 0.2
        )
    if name == "dusk":
        sky = ((74.0, 92.0, 140.0), (244.0, rng.uniform(150, 190), 120.0))
        shadow, haze, lamps = rng.uniform(0.25, 0.42), rng.uniform(140, 300), rng.random() < 0.6
        return Light(name, (0.46, 0.42, 0.45), (0.66, 0.44, 0.28), direction, shadow, sky, haze, lamps)
    sky = ((16.0, 22.0, 44.0), (52.0, 56.0, 82.0))
    return Light(name, (0.34, 0.35, 0.42), (0.07, 0.08, 0.11), direction, 0.0, sky, rng.uniform(120, 260), True)


def draw_world(rng: Generator, width: int, height: int, scale: int) -> World:
    """A random scene for a picture of this size, on a canvas `scale` times as large."""
    light = draw_light(rng)
    setting = SETTINGS[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    unit = min(width, 1.25 * height) * scale
    camera = Camera(
        focal=unit * rng.uniform(0.95, 1.35),
        centre=(width * scale * rng.uniform(0.4, 0.6), height * scale * rng.uniform(0.26, 0.44)),
        height_m=rng.uniform(1.5, 5.5),
        size=(width * scale, height * scale),
    )
    road = _draw_road(rng, setting)
    vehicles = _draw_traffic(rng, camera, road, light)
    buildings = _draw_buildings(rng, camera, road, setting)
    things = _draw_things(rng, camera, road, setting, light, vehicles)
    return World(light, camera, road, setting, tuple(buildings), tuple(things), tuple(vehicles))


def _draw_road(rng: Generator, setting: str) -> Road:
    lanes = int(rng.choice([2, 3, 4], p=[0.5, 0.15, 0.35]))
    pavement = 0.0 if setting == "country" else rng.uniform(2.0, 3.6)
    marks = (240.0, 240.0, 234.0) if rng.random() < 0.6 else (226.0, 178.0, 50.0)
    lane = rng.uniform(3.1, 3.6)
    kind = rng.random()
    if kind < 0.42:
        heading, origin = math.pi / 2 + rng.uniform(-0.22, 0.22), (rng.uniform(-0.5, 0.5) * lanes * lane, 0.0)
    elif kind < 0.68:
        heading, origin = math.pi / 2 + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1), (rng.uniform(-2, 2), rng.uniform(14, 24))
    else:
        heading, origin = rng.uniform(-0.25, 0.25), (0.0, math.exp(rng.uniform(math.log(13), math.log(36))))
    return Road(origin, heading, lanes, lane, pavement, marks)


def _draw_traffic(rng: Generator, camera: Camera, road: Road, light: Light) -> list[Placed]:
    wanted = 1 + min(9, int(rng.negative_binomial(6, 0.58)))
    placed: list[Placed] = []
    for _ in range(40):
        if len(placed) == wanted:
            break
        kind = tuple(_SHARES)[int(rng.choice(len(_SHARES), p=list(_SHARES.values())))]
        vehicle = KINDS[kind](rng, light.lamps)
        distance = math.exp(rng.uniform(math.log(_NEAREST_M), math.log(_FARTHEST_M))) * _REACH[kind]
        column = rng.uniform(0.0, 1.0) * camera.size[0]
        lane = int(rng.integers(road.lanes))
        slip, turn, fast = rng.uniform(-0.35, 0.35), rng.normal(0, 0.03), rng.random() < 0.15
        parked = rng.random() < 0.12
        across = -road.half + (lane + 0.5) * road.lane_m + slip
        if parked:
            across = math.copysign(road.half - vehicle.width / 2 - 0.1, across)
        ahead = across < 0 or road.lanes == 1
        sin, cos = math.sin(road.heading), math.cos(road.heading)
        if abs(sin) > 0.3:
            along = (distance - road.origin[1] - across * cos) / sin
        else:
            x = (column - camera.centre[0]) * road.origin[1] / camera.focal
            along = (x - road.origin[0] + across * sin) / cos
        position = road.at(along, across)
        candidate = Placed(
            position,
            road.heading + (0.0 if ahead else math.pi) + turn,
            vehicle.shapes,
            0,
            (vehicle.length / 2, vehicle.width / 2, vehicle.height),
            vehicle,
            rng.uniform(0.02, 0.07) if fast and not parked else 0.0,
        )
        if _is_in_view(candidate, camera) and not any(
            _touch(candidate, other, road) or _hides(candidate, other, camera) for other in placed
        ):
            placed.append(candidate)
    return placed


def _is_in_view(candidate: Placed, camera: Camera) -> bool:
    if min(corner[1] for corner in candidate.corners()) < 3.5:
        return False
    left, top, right, bottom = candidate.outline(camera)
    middle = camera.centre[0] + camera.focal * candidate.position[0] / candidate.position[1]
    longest = max(right - left, bottom - top)
    inside = max(0.0, min(right, camera.size[0]) - max(left, 0.0)) * max(0.0, min(bottom, camera.size[1]) - max(top, 0.0))
    if inside < _LEAST_INSIDE * (right - left) * (bottom - top):
        return False
    return (
        0.03 * camera.size[0] < middle < 0.97 * camera.size[0]
        and _SMALLEST * max(camera.size) < longest < 0.62 * camera.size[0]
    )


def _hides(a: Placed, b: Placed, camera: Camera) -> bool:
    """Whether the nearer of two vehicles may hide most of the other."""
    near, far = sorted((a, b), key=lambda item: item.position[1])
    p, q = near.outline(camera), far.outline(camera)
    common = max(0.0, min(p[2], q[2]) - max(p[0], q[0])) * max(0.0, min(p[3], q[3]) - max(p[1], q[1]))
    return common > _MOST_HIDDEN * (q[2] - q[0]) * (q[3] - q[1])


def _touch(a: Placed, b: Placed, road: Road) -> bool:
    (s0, t0), (s1, t1) = road.locate(*a.position[:2]), road.locate(*b.position[:2])
    along = abs(s0 - s1) < a.footprint[0] + b.footprint[0] + 0.8
    return along and abs(t0 - t1) < a.footprint[1] + b.footprint[1] + 0.25


def _draw_buildings(
    rng: Generator, camera: Camera, road: Road, setting: str
) -> list[tuple[tuple[float, float, float, float], float]]:
    """Two rows of blocks in a city, without the row between camera and road."""
    if setting != "city":
        return []
    _, own = road.locate(0.0, 0.0)
    rows: list[tuple[tuple[float, float, float, float], float]] = []
    for side in (-1.0, 1.0):
        edge = road.half + road.pavement_m + rng.uniform(0.5, 4.0)
        if own * side > road.half - 1.0:
            continue
        start = rng.uniform(-45, -36) if abs(math.sin(road.heading)) < 0.95 else rng.uniform(-4, 4)
        while start < 130 and len(rows) < 24:
            length = rng.uniform(7, 20)
            near, far = sorted((side * edge, side * (edge + rng.uniform(8, 14))))
            if rng.random() < 0.9:
                rows.append(((start, near, start + length, far), rng.uniform(6, 26)))
            start += length + (rng.uniform(2, 6) if rng.random() < 0.25 else 0.0)
    return sorted(rows, key=lambda row: -road.at((row[0][0] + row[0][2]) / 2, (row[0][1] + row[0][3]) / 2)[1])


def _draw_things(
    rng: Generator, camera: Camera, road: Road, setting: str, light: Light, vehicles: list[Placed]
) -> list[Placed]:
    """Clutter beside the road, some of it between camera and traffic."""
    things: list[Placed] = []

    def put(
        along: float, across: float, shapes: Callable[[Point], list[Shape]], label: int, size: tuple[float, float, float]
    ) -> None:
        position = road.at(along, across)
        if position[1] > max(4.0, 1.7 * size[2]) and abs(position[0] * camera.focal / position[1]) < camera.size[0]:
            things.append(Placed(position, 0.0, shapes, label, size))

    def still(shapes: list[Shape]) -> Callable[[Point], list[Shape]]:
        return lambda eye: shapes

    _, own = road.locate(0.0, 0.0)
    verge = road.half + max(1.0, road.pavement_m)
    if setting != "city":
        for side in (-1.0, 1.0):
            along = -30.0
            while along < 110:
                along += rng.uniform(4, 16)
                across = side * (verge + rng.uniform(4, 16))
                if own * side > road.half - 1 and road.at(along, across)[1] < 30 and abs(math.cos(road.heading)) > 0.3:
                    continue
                if setting == "suburb" and rng.random() < 0.4:
                    put(
                        along,
                        across,
                        still(house(rng, rng.uniform(7, 11), 7.0, rng.uniform(3, 5.5))),
                        BUILDING,
                        (4.5, 3.0, 5.0),
                    )
                else:
                    put(along, across, still(tree(rng)), VEGETATION, (0.35, 0.35, 6.0))
    makers: list[tuple[float, Callable[[], list[Shape]], int, tuple[float, float, float]]] = [
        (0.22, lambda: tree(rng), VEGETATION, (0.35, 0.35, 5.0)),
        (0.15, lambda: street_lamp(rng, light.lamps), OBJECT, (0.1, 0.1, 6.0)),
        (0.08, lambda: traffic_light(rng), OBJECT, (0.2, 0.2, 3.0)),
        (0.13, lambda: sign(rng), OBJECT, (0.2, 0.1, 2.3)),
        (0.09, lambda: barrier(rng), OBJECT, (1.2, 0.1, 1.0)),
        (0.07, lambda: cone(rng), OBJECT, (0.2, 0.2, 0.7)),
        (0.12, lambda: bush(rng), VEGETATION, (0.8, 0.6, 1.0)),
        (0.14, lambda: person(rng), PERSON, (0.25, 0.2, 1.7)),
    ]  # fmt: skip
    for _ in range(int(rng.integers(3, 13))):
        side = float(rng.choice([-1.0, 1.0]))
        reach = max(1.2, road.pavement_m)
        if own * side > road.half:  # the camera stands on this side: its foreground is not empty
            reach = max(reach, 0.6 * (own * side - road.half))
        across = road.half + rng.uniform(0.4, reach)
        distance = math.exp(rng.uniform(math.log(6), math.log(45)))
        sin, cos = math.sin(road.heading), math.cos(road.heading)
        along = (distance - road.origin[1] - side * across * cos) / sin if abs(sin) > 0.3 else rng.uniform(-14, 14)
        if rng.random() < 0.12:
            seed = int(rng.integers(2**31))
            put(along, side * across, _crate(seed), OBJECT, (1.0, 0.5, 1.2))
            continue
        _, make, label, size = makers[int(rng.choice(len(makers), p=[maker[0] for maker in makers]))]
        put(along, side * across, still(make()), label, size)
    return things


def _crate(seed: int) -> Callable[[Point], list[Shape]]:
    return lambda eye: crate(np.random.default_rng(seed), eye)
