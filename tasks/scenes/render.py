"""From a random world to a picture with its ground truth."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from tasks.scenes import buildings, ground, semantics
from tasks.scenes.camera import Bytes, Painter, Point
from tasks.scenes.photo import FIRST_VEHICLE, SCALE, photograph
from tasks.scenes.vehicles import KINDS
from tasks.scenes.world import Placed, World, draw_world

CLASSES = tuple(KINDS)
SEMANTIC = (*semantics.SCENERY, *CLASSES)
"""Names of the semantic mask's values."""

DIFFICULT_SHARE = 0.25  # an object of which less is visible is difficult
SMALLEST_PX = 12  # so is one whose longer visible side is shorter
_LEAST_PIXELS = 16  # an object with fewer visible pixels has no ground truth


@dataclass(frozen=True)
class SceneObject:
    """One vehicle of a scene.

    Attributes:
        label: Its class's name.
        box: xyxy of its visible part, absolute pixels, half-open.
        polygons: Outlines of its visible part: x, y, x, y, ... in absolute pixels.
        visible: Share of the vehicle that is visible, 0-1.
        truncated: Whether the picture's edge cuts it.
        difficult: Whether too little of it is visible to count on it.
    """

    label: str
    box: tuple[int, int, int, int]
    polygons: tuple[tuple[float, ...], ...]
    visible: float
    truncated: bool
    difficult: bool


@dataclass(frozen=True)
class Scene:
    """A picture and its ground truth.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        objects: The vehicles; the picture's parts for classification are cut out by their boxes.
        instances: uint8 (H, W): 0, or 1 + the index in `objects`.
        semantic: uint8 (H, W), indices of `SEMANTIC`.
        clutter: Share of the picture below the horizon that trees, poles, people and other things cover, 0-1.
    """

    image: Bytes
    objects: tuple[SceneObject, ...]
    instances: Bytes
    semantic: Bytes
    clutter: float


def draw_scene(seed: int, index: int, width: int = 320, height: int = 256) -> Scene:
    """Draws scene `index` of a seed; it has at least one object that is not difficult."""
    attempt = 0
    while True:
        scene = _draw(np.random.default_rng([seed, index, attempt]), width, height)
        if any(not item.difficult for item in scene.objects):
            return scene
        attempt += 1


def _draw(rng: Generator, width: int, height: int) -> Scene:
    world = draw_world(rng, width, height, SCALE)
    painter = Painter(world.camera, world.light)
    ground.paint_sky(painter, rng)
    ground.paint_backdrop(painter, rng, world.setting == "city")
    ground.paint_ground(painter, rng, world.road, world.setting == "city")
    _paint_shadows(painter, world)
    for box, tall in world.buildings:
        buildings.paint_building(painter, rng, world.road, box, tall)
    owns, frames = _paint_solids(painter, world)
    image = photograph(rng, world, painter)
    return _annotate(world, painter.labels, owns, frames, image)


def _paint_shadows(painter: Painter, world: World) -> None:
    sun = world.light.direction
    stretch = min(4.0, 1 / max(0.05, sun[2]))
    outlines: list[list[Point]] = []
    contacts = []
    for item in (*world.vehicles, *world.things):
        corners, tall = item.corners(), item.footprint[2]
        thin = 0.35 if item.vehicle and item.vehicle.kind == "two_wheeler" else 1.0
        if item.footprint[0] > 0.3:
            contacts.append(corners)
        moved = [(x - sun[0] * tall * stretch * thin, y - sun[1] * tall * stretch * thin, 0.0) for x, y, _ in corners]
        outlines.append(_hull([*corners, *moved]))
    for (a0, b0, a1, b1), tall in world.buildings:
        corners = [world.road.at(a, b) for a, b in ((a0, b0), (a1, b0), (a1, b1), (a0, b1))]
        moved = [(x - sun[0] * tall * stretch, y - sun[1] * tall * stretch, 0.0) for x, y, _ in corners]
        outlines.append(_hull([*corners, *moved]))
    ground.paint_shadows(painter, outlines, contacts, 1.2 * SCALE)


def _hull(points: list[Point]) -> list[Point]:
    """The convex hull of points on the ground, so that the near plane can cut it."""
    hull = cv2.convexHull(np.array([point[:2] for point in points], np.float32))[:, 0]
    return [(float(x), float(y), 0.0) for x, y in hull]


def _paint_solids(painter: Painter, world: World) -> tuple[list[Bytes], list[float]]:
    """Draws vehicles and things far to near.

    Returns:
        Per vehicle, uint8 (H, W) where it is drawn, hidden or not; and the share of it that lies inside the frame.
    """
    owns: dict[int, Bytes] = {}
    order = [*enumerate(world.vehicles), *((-1, thing) for thing in world.things)]
    for index, item in sorted(order, key=lambda entry: -_depth(entry[1])):
        if index < 0:
            painter.shapes(item.shapes(item.eye(world.camera)), item.label, item.position, item.heading)
            continue
        painter.own = owns[index] = np.zeros_like(painter.labels)
        before = painter.image.copy() if item.speed else None
        painter.shapes(item.shapes(item.eye(world.camera)), FIRST_VEHICLE + index, item.position, item.heading)
        if before is not None:
            _smear(painter, before, painter.own, item)
        painter.own = None
    count = len(world.vehicles)
    return [owns[index] for index in range(count)], [_in_frame(world.vehicles[index], world) for index in range(count)]


def _depth(item: Placed) -> float:
    return sum(corner[1] for corner in item.corners()) / 4


def _smear(painter: Painter, before: Bytes, own: Bytes, item: Placed) -> None:
    """Motion blur of one vehicle along its way."""
    x, y, w, h = cv2.boundingRect(own)
    if not w:
        return
    run = max(w * item.speed, 3.0)
    margin = int(run) + 2
    rows = slice(max(0, y - 2), y + h + 2)
    columns = slice(max(0, x - margin), x + w + margin)
    kernel = np.full((1, 2 * (int(run) // 2) + 1), 1.0, np.float32)
    kernel /= kernel.size
    alpha = cv2.filter2D(own[rows, columns].astype(np.float32), -1, kernel)[:, :, None]
    layer = cv2.filter2D((painter.image[rows, columns] * own[rows, columns][:, :, None]).astype(np.float32), -1, kernel)
    painter.image[rows, columns] = (before[rows, columns] * (1 - alpha) + layer).astype(np.uint8)


def _in_frame(item: Placed, world: World) -> float:
    """The share of a vehicle's outline box that the frame holds."""
    outline = np.array(item.outline(world.camera))
    low, high = outline[:2], outline[2:]
    inside = np.clip(high, 0, world.camera.size) - np.clip(low, 0, world.camera.size)
    return float(np.prod(inside) / max(1e-6, np.prod(high - low)))


def _annotate(world: World, labels: Bytes, owns: list[Bytes], frames: list[float], image: Bytes) -> Scene:
    """The ground truth: a picture pixel belongs to an object that covers at least half of it."""
    height, width = image.shape[:2]
    instances = np.zeros((height, width), np.uint8)
    coarse = labels[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    objects = []
    kinds = []
    for index, item in enumerate(world.vehicles):
        kind = item.vehicle.kind if item.vehicle else ""
        kinds.append(SEMANTIC.index(kind))
        seen = labels == FIRST_VEHICLE + index
        visible = int(np.count_nonzero(seen)) / max(1, int(np.count_nonzero(owns[index]))) * frames[index]
        mask = cv2.resize(seen.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) >= 128
        mask &= instances == 0  # two may cover half of a pixel each
        if np.count_nonzero(mask) < _LEAST_PIXELS:
            continue
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        difficult = visible < DIFFICULT_SHARE or max(w, h) < SMALLEST_PX
        objects.append(SceneObject(kind, (x, y, x + w, y + h), _polygons(mask), visible, frames[index] < 0.97, difficult))
        instances[mask] = len(objects)
    table = np.arange(256, dtype=np.uint8)
    table[FIRST_VEHICLE : FIRST_VEHICLE + len(kinds)] = kinds
    semantic = table[coarse]
    below = semantic[int(world.camera.centre[1] / SCALE) :]
    clutter = float(np.isin(below, (semantics.VEGETATION, semantics.OBJECT, semantics.PERSON)).mean()) if below.size else 0.0
    return Scene(image, tuple(objects), instances, semantic, clutter)


def _polygons(mask: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> tuple[tuple[float, ...], ...]:
    """Outlines of a mask along its pixels' edges."""
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        simpler = cv2.approxPolyDP(contour, 1.2, True)
        outline = (simpler if len(simpler) >= 3 else contour)[:, 0].astype(np.float64)  # of a pixel or two
        polygons.append(tuple(float(value) for value in ((outline + 0.5) / 2).reshape(-1)))
    return tuple(polygons)
