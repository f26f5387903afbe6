"""A vehicle: solids on wheels, seen from any side.

Coordinates are metres: x forwards from the middle, y to the left, z up from the ground.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.scenes.camera import Colour, Face, Hull, Point, Shape
from tasks.scenes.palette import DARK, LAMP, METAL, RUBBER, TAIL
from tasks.scenes.solids import ANGLES, Decal, Solid


@dataclass(frozen=True)
class Wheel:
    """A wheel at x with its outer face at +-y."""

    x: float
    y: float
    radius: float
    width: float
    rim: Colour = METAL

    def shapes(self, eye: Point, side: float) -> Iterator[Shape]:
        outer, inner = side * self.y, side * (self.y - self.width)
        yield Hull([*self._circle(outer, 1.0), *self._circle(inner, 1.0)], RUBBER)
        if (eye[1] - outer) * side > 0:
            yield Face(self._circle(outer, 0.62), self.rim)
            yield Face(self._circle(outer, 0.2), DARK)

    def _circle(self, y: float, share: float) -> list[Point]:
        r = self.radius * share
        return [(self.x + r * math.cos(a), y, self.radius + r * math.sin(a)) for a in ANGLES]


@dataclass(frozen=True)
class Vehicle:
    """A vehicle of one class.

    Attributes:
        kind: Its class.
        length: Metres.
        width: Metres.
        height: Metres.
        parts: Solids, which are drawn far to near.
        wheels: One an axle; each stands on both sides.
        extras: More shapes for an eye, drawn last (a rider).
        lamps: Where lamps are, at the front.
    """

    kind: str
    length: float
    width: float
    height: float
    parts: Sequence[Solid]
    wheels: Sequence[Wheel]
    extras: Callable[[Point], Sequence[Shape]] | None = None
    lamps: Sequence[Point] = field(default=())

    def shapes(self, eye: Point) -> list[Shape]:
        """What an eye at this place sees, far to near."""
        near = math.copysign(1.0, eye[1])
        covered = abs(eye[1]) > self.width / 2
        shapes: list[Shape] = []
        for wheel in self.wheels:
            shapes += wheel.shapes(eye, -near)
            if not covered:
                shapes += wheel.shapes(eye, near)
        for part in sorted(self.parts, key=lambda part: -_distance(part, eye)):
            shapes += part.shapes(eye)
        if covered:
            for wheel in self.wheels:
                if self.kind != "two_wheeler":
                    arch = [(wheel.x + x * wheel.radius * 1.18, near * self.width / 2, z) for x, z in _arch(wheel.radius)]
                    shapes.append(Face(arch, (18, 18, 20)))
                shapes += wheel.shapes(eye, near)
        if self.extras is not None:
            shapes += self.extras(eye)
        return shapes


def front_lamps(strip: int, lit: bool) -> list[Decal]:
    glow = 1.0 if lit else 0.35
    return [Decal(strip, (0.1, 0.75), (side * 0.62, side * 0.95), LAMP, glow) for side in (-1, 1)]


def tail_lamps(strip: int, lit: bool, along: tuple[float, float] = (0.35, 0.85)) -> list[Decal]:
    colour = (255.0, 40.0, 30.0) if lit else TAIL
    return [Decal(strip, along, (side * 0.66, side * 0.97), colour, 0.9 if lit else 0.25) for side in (-1, 1)]


def _arch(radius: float) -> list[tuple[float, float]]:
    return [(math.cos(a), max(0.45 * radius, radius + 1.18 * radius * math.sin(a))) for a in ANGLES]


def _distance(part: Solid, eye: Point) -> float:
    xs = [x for x, _ in part.outline]
    zs = [z for _, z in part.outline]
    x = min(max(eye[0], min(xs)), max(xs))
    return math.hypot(eye[0] - x, 0.25 * (eye[2] - max(zs)))
