"""Buildings: blocks with rows of windows along the road, and houses."""

import math

import numpy as np
from numpy.random import Generator

from tasks.scenes.camera import NEAR_M, Colour, Face, Painter, Point, Shape
from tasks.scenes.palette import FACADES, SIGNS, darker, pick
from tasks.scenes.road import Road
from tasks.scenes.semantics import BUILDING


def paint_building(painter: Painter, rng: Generator, road: Road, box: tuple[float, float, float, float], height: float) -> None:
    """A building whose footprint is `box` in road coordinates (along0, across0, along1, across1)."""
    a0, b0, a1, b1 = box
    corners = [road.at(a0, b0), road.at(a1, b0), road.at(a1, b1), road.at(a0, b1)]
    colour, floor_m = pick(rng, FACADES), rng.uniform(2.9, 3.6)
    trim, glass = darker(colour, rng.uniform(0.75, 1.2)), pick(rng, [(60, 72, 86), (44, 52, 62), (90, 110, 126)])
    lit_share = rng.uniform(0.2, 0.6) if painter.light.lamps else 0.0
    style = int(rng.integers(3))
    bay = rng.uniform(1.6, 3.0)
    awning = pick(rng, SIGNS)
    middle = (sum(c[0] for c in corners) / 4, sum(c[1] for c in corners) / 4)
    order = sorted(range(4), key=lambda i: -(corners[i][1] + corners[(i + 1) % 4][1]))
    seed = int(rng.integers(2**31))
    for index in order:
        p, q = corners[index], corners[(index + 1) % 4]
        normal = (q[1] - p[1], p[0] - q[0])
        if normal[0] * (p[0] - middle[0]) + normal[1] * (p[1] - middle[1]) < 0:
            normal = (-normal[0], -normal[1])
        if -(normal[0] * p[0] + normal[1] * p[1]) <= 0 or max(p[1], q[1]) < NEAR_M:
            continue
        size = math.hypot(*normal)
        unit = (normal[0] / size, normal[1] / size, 0.0)
        painter.face([p, q, (q[0], q[1], height), (p[0], p[1], height)], colour, BUILDING, normal=unit)
        own = np.random.default_rng(seed + index)
        _paint_facade(painter, own, (p, q), height, floor_m, bay, style, unit, (trim, glass, awning), lit_share)


def _paint_facade(
    painter: Painter, rng: Generator, base: tuple[Point, Point], height: float, floor_m: float, bay: float, style: int,
    normal: Point, colours: tuple[Colour, Colour, Colour], lit_share: float,
) -> None:  # fmt: skip
    """Rows of windows, and a ground floor."""
    p, q = base
    length = math.hypot(q[0] - p[0], q[1] - p[1])
    columns, floors = max(1, min(14, int(length / bay))), max(1, min(14, int(height / floor_m) - 1))
    trim, glass, awning = colours

    def quad(x0: float, x1: float, z0: float, z1: float) -> list[Point]:
        return [(p[0] + x * (q[0] - p[0]), p[1] + x * (q[1] - p[1]), z) for x, z in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]

    depth = (p[1] + q[1]) / 2
    cosine = max(0.0, sum(a * b for a, b in zip(normal, painter.light.direction, strict=True)))
    plain: list[list[Point]] = []
    lit: list[list[Point]] = []
    for floor in range(1, floors + 1):
        z0 = floor * floor_m + 0.25 * floor_m
        for column in range(columns):
            x0 = (column + (0.06 if style == 0 else 0.2)) / columns
            x1 = (column + (0.94 if style == 0 else 0.8)) / columns
            window = quad(x0, x1, z0, z0 + (0.6 if style else 0.5) * floor_m)
            if min(point[1] for point in window) > NEAR_M:
                (lit if rng.random() < lit_share else plain).append(window)
    for windows, colour, glow in ((plain, glass, 0.08), (lit, (250.0, 214.0, 140.0), 0.9)):
        if windows:
            pixels = painter.camera.project(np.array(windows, np.float64).reshape(-1, 3)).reshape(-1, 4, 2)
            painter.fill(list(pixels), painter.light.shade(colour, cosine, glow, depth), BUILDING)
    if style == 1:
        painter.face(quad(0.0, 1.0, floor_m * 1.02, floor_m * 1.14), trim, BUILDING, normal=normal)
    if rng.random() < 0.6:
        shop, glow = (((250.0, 224.0, 170.0), 0.8) if painter.light.lamps else (darker(glass, 0.8), 0.0))  # fmt: skip
        painter.face(quad(0.06, 0.62, 0.4, floor_m * 0.78), shop, BUILDING, glow, normal)
        painter.face(quad(0.04, 0.64, floor_m * 0.78, floor_m * 0.98), awning, BUILDING, 0.1, normal)
    painter.face(quad(0.72, 0.82, 0.0, floor_m * 0.75), darker(trim, 0.5), BUILDING, normal=normal)
    painter.face(quad(0.0, 1.0, height - 0.45, height), darker(trim, 0.85), BUILDING, normal=normal)


def house(rng: Generator, width: float, depth: float, height: float) -> list[Shape]:
    """A low house with a ridge roof, its front to the eye."""
    wall, roof = pick(rng, FACADES), pick(rng, [(140, 66, 50), (96, 84, 80), (120, 90, 70), (80, 88, 96)])
    half = width / 2
    glass = (70.0, 84.0, 96.0)
    shapes: list[Shape] = [
        Face([(-half, 0, 0), (half, 0, 0), (half, 0, height), (-half, 0, height)], wall),
        Face([(-half - 0.3, -0.3, height), (half + 0.3, -0.3, height), (half - 0.2, depth / 2, height * 1.6),
              (-half + 0.2, depth / 2, height * 1.6)], roof),
        Face([(-0.5, -0.02, 0), (0.5, -0.02, 0), (0.5, -0.02, 2.1), (-0.5, -0.02, 2.1)], darker(roof, 0.7)),
    ]  # fmt: skip
    for x in (-0.62 * half, 0.62 * half):
        shapes.append(
            Face([(x - 0.7, -0.02, 1.0), (x + 0.7, -0.02, 1.0), (x + 0.7, -0.02, 2.2), (x - 0.7, -0.02, 2.2)], glass, 0.1)
        )
    return shapes
