"""From the canvas to the picture: halos of lamps, exposure, vignette, defocus, shake and sensor noise."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from tasks.scenes.camera import Bytes, Colour, Painter
from tasks.scenes.world import World

SCALE = 2  # canvas pixels per picture pixel, along a side
FIRST_VEHICLE = 32  # the canvas's labels from here on are vehicles


def photograph(rng: Generator, world: World, painter: Painter) -> Bytes:
    """Lamps' halos, exposure, vignette, defocus, shake and sensor noise."""
    height, width = painter.labels.shape[0] // SCALE, painter.labels.shape[1] // SCALE
    picture = cv2.resize(painter.image, (width, height), interpolation=cv2.INTER_AREA)
    if world.light.lamps:
        picture = cv2.add(picture, _halo((width, height), _lamps(world, painter)))
    night = world.light.name == "night"
    gain = rng.uniform(0.82, 1.18) * (1.25 if night else 1.0)
    tint = rng.uniform(0.96, 1.04, 3)
    pixels: Any = picture.astype(np.float32) * (gain * tint).astype(np.float32)
    unit = min(width, height) / 256
    if rng.random() < 0.35:
        pixels = cv2.GaussianBlur(pixels, (0, 0), unit * rng.uniform(0.4, 1.0))
    if rng.random() < 0.1:
        size = 2 * int(unit * rng.uniform(1, 2)) + 1
        kernel = np.zeros((size, size), np.float32)
        angle = rng.uniform(0, math.pi)
        reach = size // 2
        dx, dy = reach * math.cos(angle), reach * math.sin(angle)
        cv2.line(kernel, (round(reach - dx), round(reach - dy)), (round(reach + dx), round(reach + dy)), 1.0)
        pixels = cv2.filter2D(pixels, -1, kernel / kernel.sum())
    yy = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    xx = np.linspace(-1, 1, width, dtype=np.float32)[None] ** 2
    pixels *= (1 - rng.uniform(0.0, 0.14) * (xx + yy))[:, :, None].astype(np.float32)
    noise = rng.uniform(1.0, 4.0) + (rng.uniform(1.0, 4.0) if night else 0.0)
    pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(noise)
    result: Bytes = np.clip(pixels, 0, 255).astype(np.uint8)
    return result


def _lamps(world: World, painter: Painter) -> list[tuple[float, float, float, Colour]]:
    """Visible lamps of vehicles, in picture pixels."""
    lamps = []
    for index, item in enumerate(world.vehicles):
        vehicle = item.vehicle
        if vehicle is None or item.eye(world.camera)[0] < vehicle.length / 2:
            continue
        cos, sin = math.cos(item.heading), math.sin(item.heading)
        for x, y, z in vehicle.lamps:
            point = np.array([[item.position[0] + x * cos - y * sin, item.position[1] + x * sin + y * cos, z]])
            u, v = world.camera.project(point)[0]
            if (
                0 <= u < world.camera.size[0]
                and 0 <= v < world.camera.size[1]
                and painter.labels[int(v), int(u)] == FIRST_VEHICLE + index
            ):
                lamps.append((u / SCALE, v / SCALE, 0.3 * world.camera.focal / point[0, 1] / SCALE, (230.0, 214.0, 170.0)))
    return lamps


def _halo(size: tuple[int, int], lamps: Sequence[tuple[float, float, float, Colour]]) -> Bytes:
    """The halo of lamps, uint8 (H, W, 3): each lamp is x, y, radius in pixels, and a colour."""
    width, height = size
    glow = np.zeros((height, width, 3), np.uint8)
    for x, y, radius, colour in lamps:
        cv2.circle(glow, (round(x), round(y)), max(1, round(radius)), colour, -1)
    return cv2.GaussianBlur(glow, (0, 0), max(width, height) / 90)  # type: ignore[return-value]
