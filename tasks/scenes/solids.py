"""Solids: an outline from the side, extruded to a width, with things painted on its faces.

Coordinates are metres: x forwards from the middle, y to the left, z up from the ground. `shapes(eye)` are what an eye at that
place sees, far to near.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.scenes.camera import Colour, Face, Point, Shape
from tasks.scenes.palette import darker

Outline = Sequence[tuple[float, float]]
Panel = tuple[Outline, Colour, float]


ANGLES = [math.tau * step / 14 for step in range(14)]


@dataclass(frozen=True)
class Decal:
    """Something flat on a strip of an outline: `along` from 0 at the strip's start, `across` from -1 (right) to 1 (left)."""

    strip: int
    along: tuple[float, float]
    across: tuple[float, float]
    colour: Colour
    glow: float = 0.0


@dataclass(frozen=True)
class Solid:
    """An outline in the xz plane, rear bottom over the roof to front bottom, extruded to both sides.

    Attributes:
        outline: Points (x, z).
        colours: One a strip between two outline points.
        side: Colour of the sides.
        half: Half the width, metres.
        waist: Height above which the sides lean inwards.
        lean: Share of the width that they lose from the waist to the top.
        panels: Polygons (x, z) with colour and glow on both sides, e.g. windows.
        decals: Things on the strips, e.g. lamps.
    """

    outline: Outline
    colours: Sequence[Colour]
    side: Colour
    half: float
    waist: float = 1e9
    lean: float = 0.0
    panels: Sequence[Panel] = ()
    decals: Sequence[Decal] = ()

    def _at(self, z: float) -> float:
        top = max(point[1] for point in self.outline)
        if z <= self.waist or top <= self.waist:
            return self.half
        return self.half * (1 - self.lean * (z - self.waist) / (top - self.waist))

    def shapes(self, eye: Point) -> Iterator[Shape]:
        """The visible strips and sides, far to near."""
        visible: list[tuple[float, list[Shape]]] = []
        for index, ((x0, z0), (x1, z1)) in enumerate(zip(self.outline, self.outline[1:], strict=False)):
            if (z0 - z1) * (eye[0] - x0) + (x1 - x0) * (eye[2] - z0) <= 0:
                continue
            faces: list[Shape] = [Face(self._strip(index, (0, 1), (-1, 1)), self.colours[index])]
            faces += [
                Face(self._strip(index, decal.along, decal.across), decal.colour, decal.glow)
                for decal in self.decals
                if decal.strip == index
            ]
            visible.append((math.hypot(eye[0] - (x0 + x1) / 2, eye[2] - (z0 + z1) / 2), faces))
        for _, faces in sorted(visible, key=lambda entry: -entry[0]):
            yield from faces
        if abs(eye[1]) > self.half:
            yield from self._side(math.copysign(1.0, eye[1]))

    def _strip(self, index: int, along: tuple[float, float], across: tuple[float, float]) -> list[Point]:
        (x0, z0), (x1, z1) = self.outline[index], self.outline[index + 1]
        corners = ((along[0], across[0]), (along[1], across[0]), (along[1], across[1]), (along[0], across[1]))
        points = []
        for share, side in corners:
            z = z0 + share * (z1 - z0)
            points.append((x0 + share * (x1 - x0), side * self._at(z), z))
        return points

    def _side(self, sign: float) -> Iterator[Shape]:
        lower = [(x, min(z, self.waist)) for x, z in self.outline]
        yield Face([(x, sign * self.half, z) for x, z in lower], self.side)
        upper = [(x, z) for x, z in self.outline if z >= self.waist]
        if len(upper) > 2:
            yield Face([(x, sign * self._at(z), z) for x, z in upper], self.side)
        for panel, colour, glow in self.panels:
            yield Face([(x, sign * (self._at(z) + 0.005), z) for x, z in panel], colour, glow)


def rect(x0: float, x1: float, z0: float, z1: float) -> Outline:
    """An upright rectangle."""
    return [(x0, z0), (x0, z1), (x1, z1), (x1, z0)]


def scaled(points: Outline, length: float, height: float) -> list[tuple[float, float]]:
    return [((x - 0.5) * length, z * height) for x, z in points]


def block(
    x0: float, x1: float, z0: float, z1: float, half: float, colour: Colour, decals: Sequence[Decal] = (),
    panels: Sequence[Panel] = (),
) -> Solid:  # fmt: skip
    return Solid(
        rect(x0, x1, z0, z1),
        [colour, darker(colour, 0.96), colour],
        colour,
        half,
        decals=decals,
        panels=panels,
    )


def ball(x: float, z: float, radius: float) -> list[Point]:
    ring = [(x + radius * math.cos(a), 0.0, z + radius * math.sin(a)) for a in ANGLES]
    return ring + [(x, radius * math.cos(a), z + radius * math.sin(a)) for a in ANGLES]
