"""Trucks: a cab and, behind a gap, a box, a trailer, a tank or a tipper's body."""

from numpy.random import Generator

from tasks.scenes.camera import Colour
from tasks.scenes.palette import BUS_PAINTS, CARGO_PAINTS, DARK, GLASS, LAMP, METAL, PAINTS, PLATE, darker, pick
from tasks.scenes.solids import Decal, Panel, Solid, block, rect
from tasks.scenes.vehicle import Vehicle, Wheel, tail_lamps


def truck(rng: Generator, lit: bool) -> Vehicle:
    """A cab and, behind a gap, a box, a tank, or a tipper's body."""
    body = ("box", "box", "semi", "tank", "tipper")[int(rng.integers(5))]
    length = {"box": 6.8, "semi": 10.5, "tank": 8.2, "tipper": 6.6}[body] * rng.uniform(0.92, 1.08)
    width = rng.uniform(2.2, 2.5)
    top = {"box": 3.3, "semi": 3.7, "tank": 3.0, "tipper": 2.55}[body] * rng.uniform(0.95, 1.05)
    cab_height = min(top - 0.1, rng.uniform(2.5, 2.8)) if body != "tipper" else rng.uniform(2.5, 2.7)
    front, floor = length / 2, 0.95
    paint, glass = pick(rng, PAINTS), darker(GLASS, rng.uniform(0.8, 1.4))
    cab = _cab(front, 1.95, cab_height, floor - 0.15, width * 0.97, paint, glass, lit)
    chassis = block(-front + 0.1, front - 0.4, 0.52, floor, width * 0.42, DARK, tail_lamps(0, lit, (0.2, 0.8)))
    cargo_front, cargo_rear = front - 1.95 - 0.35, -front
    colour = pick(rng, CARGO_PAINTS)
    seams: list[Panel] = []
    doors = [Decal(0, (0.02, 0.98), (-0.03, 0.03), darker(colour, 0.55)), *tail_lamps(0, lit, (0.01, 0.06)),
             Decal(0, (0.0, 0.03), (-1, 1), (170, 40, 30), 0.1)]  # fmt: skip
    if body in ("box", "semi"):
        if rng.random() < 0.6:
            stripe, low = pick(rng, BUS_PAINTS), rng.uniform(0.25, 0.5)
            z0, z1 = floor + low * (top - floor), floor + (low + rng.uniform(0.12, 0.3)) * (top - floor)
            x0, x1 = cargo_rear + 0.3, cargo_front - rng.uniform(0.3, 0.4 * (cargo_front - cargo_rear))
            seams.append((rect(x0, x1, z0, z1), stripe, 0.0))
        seams.append((rect(cargo_rear, cargo_front, floor, floor + 0.1), DARK, 0.0))
        cargo = block(cargo_rear, cargo_front, floor, top, width / 2, colour, doors, seams)
    elif body == "tank":
        half, mid = (top - floor) / 2, (top + floor) / 2
        silver = pick(rng, [(206, 208, 212), (228, 228, 226), (196, 150, 60)])
        ends = [(cargo_rear, mid - 0.7 * half), (cargo_rear, mid + 0.7 * half), (cargo_rear + 0.35, top),
                (cargo_front - 0.35, top), (cargo_front, mid + 0.7 * half), (cargo_front, mid - 0.7 * half),
                (cargo_front - 0.35, floor + 0.05), (cargo_rear + 0.35, floor + 0.05)]  # fmt: skip
        bands: list[Panel] = [
            (rect(cargo_rear + 0.2, cargo_front - 0.2, mid - 0.12, mid + 0.12), pick(rng, BUS_PAINTS), 0.0),
            ([(cargo_rear + 0.3, floor + 0.1), (cargo_rear + 0.2, mid - 0.4 * half), (cargo_front - 0.2, mid - 0.4 * half),
              (cargo_front - 0.3, floor + 0.1)], darker(silver, 0.7), 0.0),
        ]  # fmt: skip
        cargo = Solid(ends, [silver] * 7, silver, width * 0.48, mid, 0.35, bands, tail_lamps(0, lit, (0.0, 0.12)))
    else:
        steel = pick(rng, [(206, 140, 40), (120, 124, 128), (160, 60, 44), (70, 100, 80)])
        load = pick(rng, [(132, 112, 84), (108, 104, 98), (150, 138, 110)])
        wall = top - 0.45
        ribs: list[Panel] = []
        for step in range(4):
            x = cargo_rear + (0.1 + 0.26 * step) * (cargo_front - cargo_rear)
            ribs.append((rect(x, x + 0.14, floor, wall), darker(steel, 0.75), 0.0))
        cargo = Solid(
            [(cargo_rear, floor), (cargo_rear - 0.1, wall), (cargo_rear + 0.9, top), (cargo_front - 0.8, top),
             (cargo_front, wall), (cargo_front, floor)],
            [steel, load, load, load, steel], steel, width / 2, wall, 0.7, ribs, tail_lamps(0, lit, (0.02, 0.14)),
        )  # fmt: skip
    rear_axles = [-front + 1.0] if body in ("box",) and length < 7 else [-front + 0.9, -front + 2.0]
    wheels = [Wheel(x, width / 2 - 0.02, 0.47, 0.35, darker(METAL, 0.85)) for x in [*rear_axles, front - 1.25]]
    if body == "semi":
        wheels.append(Wheel(front - 3.4, width / 2 - 0.02, 0.47, 0.35, darker(METAL, 0.85)))
    lamps = [(front, side * 0.7 * width / 2, 0.8) for side in (-1.0, 1.0)]
    return Vehicle("truck", length, width, max(top, cab_height), [chassis, cargo, cab], wheels, lamps=lamps)


def _cab(
    front: float, length: float, height: float, floor: float, width: float, paint: Colour, glass: Colour, lit: bool
) -> Solid:
    """A cab over the engine, whose front is at x = `front`."""
    rise = height - floor
    points = [
        (front - length, floor), (front - length, height - 0.05), (front - length + 0.15, height), (front - 0.45, height),
        (front - 0.12, floor + 0.50 * rise), (front, floor + 0.34 * rise), (front, floor - 0.25),
    ]  # fmt: skip
    colours = [darker(paint, 0.8), paint, paint, glass, paint, darker(paint, 0.9)]
    window = [(front - 1.15, floor + 0.48 * rise), (front - 1.15, floor + 0.86 * rise), (front - 0.50, floor + 0.86 * rise),
              (front - 0.28, floor + 0.48 * rise)]  # fmt: skip
    decals = [
        Decal(4, (0.3, 1.0), (-0.7, 0.7), DARK), Decal(5, (0.0, 0.35), (-0.55, 0.55), DARK),
        *(Decal(5, (0.4, 0.72), (side * 0.55, side * 0.92), LAMP, 1.0 if lit else 0.35) for side in (-1, 1)),
        Decal(5, (0.45, 0.68), (-0.22, 0.22), PLATE, 0.2), Decal(5, (0.8, 1.0), (-1, 1), DARK),
    ]  # fmt: skip
    return Solid(points, colours, paint, width / 2, floor + 0.5 * rise, 0.06, [(window, glass, 0.0)], decals)
