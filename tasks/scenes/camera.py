"""A pinhole camera, and a painter that draws solids in perspective together with their labels.

World coordinates are metres: x to the right, y away from the camera, z up from the ground, the camera above the origin. The
painter draws on a supersampled canvas; whatever it paints also gets a label, so that picture and ground truth never differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Colour = tuple[float, float, float]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

NEAR_M = 1.5
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_LIMIT = 16000.0  # pixels; OpenCV's fixed-point coordinates overflow far beyond it


@dataclass(frozen=True, slots=True)
class Face:
    """A flat polygon; `glow` is the share of its colour that needs no light, 0-1."""

    points: Sequence[Point]
    colour: Colour
    glow: float = 0.0


@dataclass(frozen=True, slots=True)
class Hull:
    """The convex outline of some points, shaded as something round."""

    points: Sequence[Point]
    colour: Colour
    glow: float = 0.0


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line of some thickness."""

    points: Sequence[Point]
    colour: Colour
    width_m: float
    glow: float = 0.0


Shape = Face | Hull | Stroke


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        focal: Focal length, pixels of the canvas.
        centre: Vanishing point of the y axis, pixels of the canvas; its y is the horizon.
        height_m: Of the camera above the ground.
        size: Of the canvas, width and height, pixels.
    """

    focal: float
    centre: tuple[float, float]
    height_m: float
    size: tuple[int, int]

    def project(self, points: Floats) -> Floats:
        """World points (N, 3) to canvas pixels (N, 2); all must lie in front of the camera."""
        scale = self.focal / points[:, 1]
        x = self.centre[0] + points[:, 0] * scale
        y = self.centre[1] + (self.height_m - points[:, 2]) * scale
        return np.clip(np.stack([x, y], axis=1), -_LIMIT, _LIMIT)

    def polygon(self, points: Sequence[Point]) -> Floats:
        """A world polygon as canvas pixels (M, 2), cut at the edges of the view; M may be 0."""
        return self.project(np.array(_cut(points), np.float64).reshape(-1, 3))


@dataclass(frozen=True)
class Light:
    """The daylight of a scene.

    Attributes:
        name: `day`, `overcast`, `dusk` or `night`.
        ambient: Light from everywhere, RGB factors.
        sun: Light from the sun, RGB factors.
        direction: Unit vector towards the sun.
        shadow: How much of the light a cast shadow takes, 0-1.
        sky: Colours of zenith and horizon.
        haze_m: Distance at which two thirds of a colour are lost in the air.
        lamps: Whether lamps and windows are lit.
    """

    name: str
    ambient: Colour
    sun: Colour
    direction: Point
    shadow: float
    sky: tuple[Colour, Colour]
    haze_m: float
    lamps: bool

    def shade(self, colour: Colour, cosine: float, glow: float, distance_m: float) -> Colour:
        """The colour of a surface whose normal has this cosine to the sun, seen through the air."""
        sun = max(0.0, cosine)
        clear = math.exp(-max(0.0, distance_m) / self.haze_m)
        return tuple(  # type: ignore[return-value]
            min(255.0, c * (glow + (1 - glow) * (a + s * sun))) * clear + h * (1 - clear)
            for c, a, s, h in zip(colour, self.ambient, self.sun, self.sky[1], strict=True)
        )


class Painter:
    """Draws far to near; the caller keeps that order.

    Attributes:
        image: uint8 (H, W, 3) RGB, the canvas.
        labels: uint8 (H, W), what each pixel shows.
        own: uint8 (H, W), where the current object is drawn, also where something nearer will hide it; None for the scenery.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        width, height = camera.size
        self.camera, self.light = camera, light
        self.image: Bytes = np.zeros((height, width, 3), np.uint8)
        self.labels: Bytes = np.zeros((height, width), np.uint8)
        self.own: Bytes | None = None

    def fill(self, polygons: Sequence[Floats], colour: Colour, label: int) -> None:
        """Fills polygons, canvas pixels (M, 2) each."""
        fixed = [np.round(polygon * (1 << _SHIFT)).astype(np.int32) for polygon in polygons if len(polygon) > 2]
        if not fixed:
            return
        cv2.fillPoly(self.image, fixed, colour, cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.labels, fixed, label, cv2.LINE_8, _SHIFT)
        if self.own is not None:
            cv2.fillPoly(self.own, fixed, 1, cv2.LINE_8, _SHIFT)

    def face(self, points: Sequence[Point], colour: Colour, label: int, glow: float = 0.0, normal: Point | None = None) -> None:
        """Fills a world polygon, cut at the edges of the view."""
        depth = sum(point[1] for point in points) / len(points)
        shaded = self.light.shade(colour, _cosine(normal or (0.0, 0.0, 1.0), self.light.direction), glow, depth)
        self.fill([self.camera.polygon(points)], shaded, label)

    def shapes(self, shapes: Sequence[Shape], label: int, position: Point = (0.0, 0.0, 0.0), heading: float = 0.0) -> None:
        """Draws a solid's visible shapes, given in its own coordinates, in their order.

        Args:
            shapes: What `tasks.scenes.vehicles` and `tasks.scenes.scenery` return for the eye's position; all in front of the
                near plane.
            label: What they show.
            position: The solid's origin in the world.
            heading: The direction of its x axis in the world, radians from the world's x axis, counter-clockwise from above.
        """
        if not shapes:
            return
        cos, sin = math.cos(heading), math.sin(heading)
        local = np.array([point for shape in shapes for point in shape.points], np.float64)
        world = np.stack(
            [
                position[0] + local[:, 0] * cos - local[:, 1] * sin,
                position[1] + local[:, 0] * sin + local[:, 1] * cos,
                position[2] + local[:, 2],
            ],
            axis=1,
        )
        world[:, 1] = np.maximum(world[:, 1], NEAR_M)
        pixels = self.camera.project(world)
        sun = self.light.direction
        local_sun = (sun[0] * cos + sun[1] * sin, -sun[0] * sin + sun[1] * cos, sun[2])
        eye = to_local((0.0, 0.0, self.camera.height_m), position, heading)
        start = 0
        for shape in shapes:
            outline = pixels[start : start + len(shape.points)]
            depth = float(world[start, 1])
            start += len(shape.points)
            if isinstance(shape, Face):
                cosine = _cosine(towards(shape.points, eye), local_sun)
                self.fill([outline], self.light.shade(shape.colour, cosine, shape.glow, depth), label)
            elif isinstance(shape, Hull):
                colour = self.light.shade(shape.colour, 0.45, shape.glow, depth)
                self.fill([cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)], colour, label)
            else:
                self._stroke(outline, self.light.shade(shape.colour, 0.4, shape.glow, depth), shape.width_m / depth, label)

    def _stroke(self, outline: Floats, colour: Colour, slope: float, label: int) -> None:
        fixed = [np.round(outline * (1 << _SHIFT)).astype(np.int32)]
        thickness = max(1, round(slope * self.camera.focal))
        cv2.polylines(self.image, fixed, False, colour, thickness, cv2.LINE_8, _SHIFT)
        cv2.polylines(self.labels, fixed, False, label, thickness, cv2.LINE_8, _SHIFT)
        if self.own is not None:
            cv2.polylines(self.own, fixed, False, 1, thickness, cv2.LINE_8, _SHIFT)


def to_local(point: Point, position: Point, heading: float) -> Point:
    """A world point in the coordinates of a solid."""
    cos, sin = math.cos(heading), math.sin(heading)
    x, y = point[0] - position[0], point[1] - position[1]
    return (x * cos + y * sin, -x * sin + y * cos, point[2] - position[2])


def towards(points: Sequence[Point], eye: Point) -> Point:
    """The unit normal of a polygon, on the side of the eye."""
    a, b, c = points[0], points[1], points[2]
    u = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
    v = (c[0] - a[0], c[1] - a[1], c[2] - a[2])
    n = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    size = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) or 1.0
    if n[0] * (eye[0] - a[0]) + n[1] * (eye[1] - a[1]) + n[2] * (eye[2] - a[2]) < 0:
        size = -size
    return (n[0] / size, n[1] / size, n[2] / size)


def _cosine(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


# Half-spaces a*x + b*y >= c that hold what a camera can see: before the near plane, and in a wedge wider than any view, beyond
# which perspective gives coordinates too large for OpenCV.
_VIEW = ((0.0, 1.0, NEAR_M), (1.0, 2.5, 0.0), (-1.0, 2.5, 0.0))


def _cut(points: Sequence[Point]) -> Sequence[Point]:
    """The part of a polygon that lies in the view (Sutherland and Hodgman, 1974)."""
    for a, b, c in _VIEW:
        excess = [a * x + b * y - c for x, y, _ in points]
        if min(excess, default=0.0) >= 0:
            continue
        kept: list[Point] = []
        for index, start in enumerate(points):
            following = (index + 1) % len(points)
            end, here, there = points[following], excess[index], excess[following]
            if here >= 0:
                kept.append(start)
            if (here >= 0) != (there >= 0):
                share = here / (here - there)
                kept.append(tuple(p + share * (q - p) for p, q in zip(start, end, strict=True)))  # type: ignore[arg-type]
        points = kept
    return points
