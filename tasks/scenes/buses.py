"""Buses: one body with rows of windows."""

from numpy.random import Generator

from tasks.scenes.palette import BUS_PAINTS, DARK, GLASS, LAMP, METAL, PAINTS, PLATE, darker, pick
from tasks.scenes.solids import Decal, Panel, Solid, block, rect
from tasks.scenes.vehicle import Vehicle, Wheel, tail_lamps


def bus(rng: Generator, lit: bool) -> Vehicle:
    """A city bus, a coach or a double-decker: one body with rows of windows."""
    double = rng.random() < 0.15
    length, width = rng.uniform(8.2, 11.5), rng.uniform(2.4, 2.55)
    top, floor = (4.2 if double else rng.uniform(2.95, 3.25)), 0.35
    paint, glass = pick(rng, BUS_PAINTS), darker(GLASS, rng.uniform(0.7, 1.2))
    warm = (250.0, 226.0, 160.0)
    rear, front = -length / 2, length / 2
    slope = rng.uniform(0.05, 0.35)
    points = [(rear, floor), (rear, 1.35), (rear + 0.03, top - 0.35), (rear + 0.2, top), (front - slope - 0.15, top),
              (front - slope, top - 0.4), (front - 0.03, 1.2), (front, floor)]  # fmt: skip
    colours = [paint, glass, paint, darker(paint, 0.95), darker(paint, 0.8), glass, paint]
    panels: list[Panel] = []
    if rng.random() < 0.7:
        stripe = pick(rng, [*PAINTS[:3], *BUS_PAINTS])
        panels.append((rect(rear, front, floor, floor + 0.4), stripe, 0.0))
    windows = int(rng.integers(5, 8))
    rows = [(1.35, 2.15), (2.7, 3.6)] if double else [(1.4, top - 0.5)]
    for low, high in rows:
        step = (length - 0.7) / windows
        for index in range(windows):
            x0 = rear + 0.3 + index * step
            x1 = x0 + step - 0.14
            is_lit = lit and rng.random() < 0.75
            panels.append((rect(x0, x1, low, high), warm if is_lit else glass, 0.85 if is_lit else 0.0))
    for x in (front - 1.3, rng.uniform(-0.6, 0.4)):
        panels.append((rect(x, x + 1.0, floor + 0.1, 2.3), darker(glass, 0.8), 0.0))
        panels.append((rect(x + 0.46, x + 0.54, floor + 0.1, 2.3), METAL, 0.0))
    decals = [
        *tail_lamps(0, lit, (0.35, 0.75)), Decal(0, (0.35, 0.55), (-0.22, 0.22), PLATE, 0.2),
        Decal(0, (0.65, 0.95), (-0.5, 0.5), DARK),
        Decal(1, (0.0, 0.06), (-1, 1), paint), Decal(4, (0.25, 0.95), (-0.65, 0.65), (20, 20, 18)),
        Decal(4, (0.35, 0.85), (-0.55, 0.55), (250, 176, 40), 0.75), Decal(5, (0, 1), (-0.02, 0.02), darker(METAL, 0.6)),
        *(Decal(6, (0.35, 0.6), (side * 0.6, side * 0.93), LAMP, 1.0 if lit else 0.35) for side in (-1, 1)),
        Decal(6, (0.55, 0.75), (-0.2, 0.2), PLATE, 0.2), Decal(6, (0.82, 1.0), (-1, 1), DARK),
    ]  # fmt: skip
    body = Solid(points, colours, paint, width / 2, 1.35, 0.05, panels, decals)
    parts = [body]
    if not double and rng.random() < 0.6:
        x = rng.uniform(rear + 1.5, front - 4)
        parts.append(block(x, x + 2.0, top, top + 0.22, width * 0.3, darker(paint, 0.85)))
    wheels = [Wheel(x, width / 2 + 0.005, 0.46, 0.3, darker(METAL, 0.9)) for x in (-0.27 * length, 0.31 * length)]
    lamps = [(front, side * 0.75 * width / 2, 0.8) for side in (-1.0, 1.0)]
    return Vehicle("bus", length, width, top, parts, wheels, lamps=lamps)
