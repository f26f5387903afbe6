"""Cars: saloon, hatchback, estate, SUV."""

from numpy.random import Generator

from tasks.scenes.palette import DARK, GLASS, METAL, PAINTS, PLATE, darker, pick
from tasks.scenes.solids import Decal, Panel, Solid, rect, scaled
from tasks.scenes.vehicle import Vehicle, Wheel, front_lamps, tail_lamps


def car(rng: Generator, lit: bool) -> Vehicle:
    """A saloon, hatchback, estate or SUV."""
    body = ("saloon", "hatchback", "estate", "suv")[int(rng.integers(4))]
    length = {"saloon": 4.6, "hatchback": 3.9, "estate": 4.6, "suv": 4.5}[body] * rng.uniform(0.94, 1.06)
    height = (1.72 if body == "suv" else 1.46) * rng.uniform(0.97, 1.04)
    width = rng.uniform(1.72, 1.92)
    waist, roof = (0.61, rng.uniform(0.52, 0.6))
    rear = {"saloon": [(0.155, 0.655), (0.30, 0.97)], "hatchback": [(0.03, 0.64), (0.13, 0.965)]}.get(
        body, [(0.02, 0.64), (0.07, 0.965)]
    )
    points = [
        (0.015, 0.17),
        (0.0, 0.36),
        (0.012, 0.60),
        *rear,
        (roof, 1.0),
        (0.735, 0.645),
        (0.965, 0.54),
        (1.0, 0.40),
        (0.985, 0.17),
    ]
    paint = pick(rng, PAINTS)
    glass = darker(GLASS, rng.uniform(0.8, 1.5))
    colours = [darker(paint, 0.75), paint, paint, glass, paint, glass, paint, paint, darker(paint, 0.7)]
    base, top = rear
    windows = [[(base[0] + 0.035, 0.66), (top[0] + 0.02, 0.92), (0.44, 0.94), (0.44, 0.66)],
               [(0.465, 0.66), (0.465, 0.94), (roof - 0.01, 0.94), (0.70, 0.66)]]  # fmt: skip
    panels: list[Panel] = [(scaled(window, length, height), glass, 0.0) for window in windows]
    panels.append((scaled(rect(0.02, 0.98, 0.17, 0.25), length, height), DARK, 0.0))
    panels.append((scaled(rect(0.452, 0.458, 0.28, 0.62), length, height), darker(paint, 0.6), 0.0))
    decals = [
        *tail_lamps(1, lit), *front_lamps(7, lit),
        Decal(7, (0.2, 0.9), (-0.5, 0.5), DARK), Decal(8, (0.1, 0.5), (-0.3, 0.3), PLATE, 0.2),
        Decal(1, (0.1, 0.45), (-0.28, 0.28), PLATE, 0.2), Decal(8, (0.6, 1.0), (-0.9, 0.9), DARK),
        Decal(0, (0.0, 0.4), (-0.9, 0.9), DARK),
    ]  # fmt: skip
    solid = Solid(scaled(points, length, height), colours, paint, width / 2, waist * height, 0.17, panels, decals)
    radius = height * (0.215 if body != "suv" else 0.205)
    rim = pick(rng, [METAL, (190, 192, 196), (70, 72, 76)])
    wheels = [Wheel(x * length, width / 2 + 0.01, radius, 0.22, rim) for x in (-0.31, 0.31)]
    lamps = [(0.5 * length, side * 0.7 * width / 2, 0.45 * height) for side in (-1.0, 1.0)]
    return Vehicle("car", length, width, height, [solid], wheels, lamps=lamps)
