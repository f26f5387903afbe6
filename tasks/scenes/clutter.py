"""What stands beside the road and hides the traffic: trees, poles, signs, barriers, boxes, people."""

import math

from numpy.random import Generator

from tasks.scenes.camera import Face, Hull, Point, Shape, Stroke
from tasks.scenes.palette import DARK, LEAVES, METAL, SIGNS, darker, pick
from tasks.scenes.solids import ANGLES, ball, block, rect


def tree(rng: Generator) -> list[Shape]:
    """A trunk and a crown of lighter and darker leaves."""
    height, spread = rng.uniform(4.0, 8.0), rng.uniform(1.2, 2.3)
    leaf = pick(rng, LEAVES)
    shapes: list[Shape] = [Stroke([(0, 0, 0), (0.1, 0, height * 0.6)], (84, 66, 50), rng.uniform(0.22, 0.36))]
    for step in range(9):
        angle, reach = rng.uniform(0, math.tau), rng.uniform(0.2, 0.8) * spread
        x, z = reach * math.cos(angle), height * 0.68 + reach * math.sin(angle) * 1.1
        colour = darker(leaf, 0.72 + 0.055 * step + 0.1 * (z > height * 0.7))
        shapes.append(Hull(_leafy(rng, x, z, spread * rng.uniform(0.42, 0.62)), colour))
    return shapes


def bush(rng: Generator) -> list[Shape]:
    """A low bush."""
    leaf, size = pick(rng, LEAVES), rng.uniform(0.5, 0.9)
    return [
        Hull(_leafy(rng, rng.uniform(-size, size), size * 0.6, size * rng.uniform(0.6, 0.9)), darker(leaf, 0.75 + 0.12 * step))
        for step in range(4)
    ]


def street_lamp(rng: Generator, lit: bool) -> list[Shape]:
    """A lamp on a pole."""
    height, reach = rng.uniform(5.5, 8), rng.choice([-1.4, 1.4])
    steel = pick(rng, [(92, 98, 104), (60, 66, 70), (140, 144, 148)])
    head = [(reach + x, 0.0, height + z) for x in (-0.35, 0.35) for z in (0.0, 0.18)]
    return [
        Stroke([(0, 0, 0), (0, 0, height), (reach, 0, height + 0.15)], steel, 0.14),
        Hull(head, (255, 236, 190) if lit else (200, 200, 196), 1.0 if lit else 0.1),
    ]


def traffic_light(rng: Generator) -> list[Shape]:
    """A signal on a pole."""
    shapes: list[Shape] = [
        Stroke([(0, 0, 0), (0, 0, 2.3)], (70, 74, 78), 0.13),
        Hull([(x, 0.0, z) for x in (-0.2, 0.2) for z in (2.2, 3.2)], (34, 36, 36)),
    ]
    on = int(rng.integers(3))
    for index, colour in enumerate(((230.0, 40.0, 30.0), (240.0, 180.0, 40.0), (50.0, 210.0, 110.0))):
        ring = [(0.11 * math.cos(a), -0.01, 3.03 - 0.32 * index + 0.11 * math.sin(a)) for a in ANGLES]
        shapes.append(Hull(ring, colour if index == on else darker(colour, 0.3), 1.0 if index == on else 0.0))
    return shapes


def sign(rng: Generator) -> list[Shape]:
    """A round, triangular or square sign on a pole."""
    colour, size, height = pick(rng, SIGNS), rng.uniform(0.32, 0.45), rng.uniform(2.0, 2.5)
    corners = (14, 3, 4)[int(rng.integers(3))]
    turn = math.pi / 4 if corners == 4 else math.pi / 2

    def plate(share: float) -> list[Point]:
        steps = [math.tau * step / corners + turn for step in range(corners)]
        return [(share * size * math.cos(a), -0.03, height + share * size * math.sin(a)) for a in steps]

    return [
        Stroke([(0, 0, 0), (0, 0, height)], METAL, 0.08),
        Hull(plate(1.0), colour, 0.15),
        Hull(plate(0.62), (238, 238, 232), 0.15),
    ]


def barrier(rng: Generator) -> list[Shape]:
    """A red and white barrier."""
    shapes: list[Shape] = [Stroke([(x, 0, 0), (x, 0, 0.95)], DARK, 0.08) for x in (-0.9, 0.9)]
    for step in range(8):
        x = -1.2 + 0.3 * step
        colour = (206.0, 36.0, 30.0) if step % 2 else (238.0, 238.0, 234.0)
        shapes.append(Face([(x, -0.02, 0.7), (x + 0.3, -0.02, 0.7), (x + 0.3, -0.02, 1.0), (x, -0.02, 1.0)], colour, 0.1))
    return shapes


def cone(rng: Generator) -> list[Shape]:
    """A traffic cone."""
    return [
        Hull([(-0.26, 0, 0), (0.26, 0, 0), (0.26, 0, 0.06), (-0.26, 0, 0.06)], (60, 60, 62)),
        Hull([(-0.2, 0, 0.05), (0.2, 0, 0.05), (0.04, 0, 0.72), (-0.04, 0, 0.72)], (236, 100, 34), 0.1),
        Hull([(-0.13, 0, 0.3), (0.13, 0, 0.3), (0.09, 0, 0.46), (-0.09, 0, 0.46)], (238, 238, 234), 0.1),
    ]


def crate(rng: Generator, eye: Point) -> list[Shape]:
    """A box, a bin or a small container: as large as a small vehicle, and none."""
    length, height, half = rng.uniform(0.7, 2.6), rng.uniform(0.7, 1.7), rng.uniform(0.35, 0.8)
    colour = pick(rng, [(150, 112, 70), (70, 96, 74), (92, 100, 110), (60, 90, 130), (170, 120, 50)])
    panels = [(rect(-0.4 * length, 0.4 * length, z, z + 0.07), darker(colour, 0.7), 0.0)
              for z in (0.25 * height, 0.6 * height)]  # fmt: skip
    return list(block(-length / 2, length / 2, 0.0, height, half, colour, panels=panels).shapes(eye))


def person(rng: Generator) -> list[Shape]:
    """Somebody on foot."""
    tall = rng.uniform(0.92, 1.06)
    coat = pick(rng, [*SIGNS, (60, 66, 80), (120, 96, 76), (36, 38, 44)])
    legs = pick(rng, [(40, 44, 60), (30, 30, 34), (92, 84, 70)])
    step = rng.uniform(0.05, 0.26)
    torso = [
        (x, 0.0, z * tall) for x, z in ((-0.16, 0.8), (0.16, 0.8), (0.21, 1.36), (0.12, 1.48), (-0.12, 1.48), (-0.21, 1.36))
    ]
    return [
        Stroke([(-0.05, 0, 0.85 * tall), (-step, 0, 0.03)], legs, 0.15),
        Stroke([(0.05, 0, 0.85 * tall), (step, 0, 0.03)], legs, 0.15),
        Hull(torso, coat),
        Stroke([(-0.2, 0, 1.36 * tall), (-0.25, 0, 0.86 * tall)], darker(coat, 0.85), 0.1),
        Stroke([(0.2, 0, 1.36 * tall), (0.25, 0, 0.86 * tall)], darker(coat, 0.85), 0.1),
        Hull(ball(0.0, 1.63 * tall, 0.12), (196, 150, 120)),
        Hull([p for p in ball(0.0, 1.66 * tall, 0.13) if p[2] > 1.66 * tall], (58, 44, 34)),
    ]


def _leafy(rng: Generator, x: float, z: float, radius: float) -> list[Point]:
    sizes = rng.uniform(0.85, 1.12, len(ANGLES))
    return [(x + radius * s * math.cos(a), 0.0, z + radius * s * math.sin(a)) for a, s in zip(ANGLES, sizes, strict=True)]
