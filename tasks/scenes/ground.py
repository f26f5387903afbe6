"""Sky, horizon, ground and road, and the shadows on it."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from tasks.scenes.camera import Colour, Painter, Point
from tasks.scenes.palette import FACADES, LEAVES, darker, mix, pick
from tasks.scenes.road import Road
from tasks.scenes.semantics import BUILDING, ROAD, SIDEWALK, SKY, TERRAIN, VEGETATION


def paint_sky(painter: Painter, rng: Generator) -> None:
    """Fills the canvas with a graded sky and clouds."""
    height, width = painter.labels.shape
    light = painter.light
    horizon = max(2, min(height, int(painter.camera.centre[1]) + 2))
    rows, columns = max(2, horizon // 2), max(2, width // 2)
    zenith, low = (np.array(colour, np.float32) for colour in light.sky)
    share = (np.linspace(0, 1, rows, dtype=np.float32) ** 1.3)[:, None]
    sky = np.repeat((zenith * (1 - share) + low * share)[:, None], columns, axis=1)
    cover = {"day": 0.55, "overcast": 0.85, "dusk": 0.5, "night": 0.15}[light.name] * rng.uniform(0.3, 1.0)
    waves = noise(rng, (rows, columns), (7, 9)) * 0.65 + noise(rng, (rows, columns), (16, 18)) * 0.35
    clouds = np.clip((waves - 0.62 + 0.25 * cover) * 3.2, 0, 1)[:, :, None] * np.float32(cover)
    tint = np.array(
        {"day": (250, 250, 250), "overcast": (226, 228, 230), "dusk": (250, 190, 150)}.get(light.name, (60, 64, 80))
    )
    sky += (tint.astype(np.float32) - sky) * clouds
    painter.image[:horizon] = cv2.resize(sky.astype(np.uint8), (width, horizon), interpolation=cv2.INTER_LINEAR)
    painter.labels[:] = SKY


def paint_backdrop(painter: Painter, rng: Generator, city: bool) -> None:
    """A hazy skyline or hills on the horizon."""
    width = painter.labels.shape[1]
    y = painter.camera.centre[1] + 2
    haze = painter.light.sky[1]
    unit = painter.camera.focal
    if city:
        x = -0.05 * width
        while x < width:
            step = rng.uniform(0.03, 0.11) * width
            top = y - rng.uniform(0.015, 0.14) * unit
            colour = mix(painter.light.shade(pick(rng, FACADES), 0.3, 0.0, 0.0), haze, rng.uniform(0.5, 0.75))
            painter.fill([np.array([(x, y), (x, top), (x + step, top), (x + step, y)])], colour, BUILDING)
            x += step * rng.uniform(0.8, 1.3)
        return
    for layer in range(2):
        ridge = noise(rng, (1, 24), (1, int(rng.integers(4, 8))))[0]
        top = y - (0.02 + ridge * (0.10 - 0.045 * layer)) * unit
        colour = mix(painter.light.shade(pick(rng, LEAVES), 0.4, 0.0, 0.0), haze, 0.65 - 0.3 * layer)
        outline = np.stack([np.linspace(-2, width + 2, 24), top], axis=1)
        painter.fill([np.vstack([[(-2, y)], outline, [(width + 2, y)]])], colour, VEGETATION)


def paint_ground(painter: Painter, rng: Generator, road: Road, paved: bool) -> None:
    """The ground with road, pavements, marks, wear and haze."""
    height, width = painter.labels.shape
    horizon = max(0, math.ceil(painter.camera.centre[1]))
    if horizon >= height:
        return
    light = painter.light

    def flat(points: Sequence[Point], colour: Colour, label: int) -> None:
        painter.fill([painter.camera.polygon(points)], light.shade(colour, light.direction[2], 0.0, 0.0), label)

    grass = pick(rng, [(96, 112, 62), (120, 118, 74), (84, 104, 56)])
    paving = pick(rng, [(150, 146, 138), (136, 134, 132), (158, 148, 132)])
    asphalt = pick(rng, [(92, 93, 96), (78, 80, 84), (108, 106, 104)])
    full = np.array([(0, horizon), (width, horizon), (width, height), (0, height)], np.float64)
    base = paving if paved else grass
    painter.fill([full], light.shade(base, light.direction[2], 0.0, 0.0), SIDEWALK if paved else TERRAIN)
    near, far, half, side = -80.0, 400.0, road.half, road.pavement_m
    if side:
        flat(road.strip(near, far, -half - side, half + side), darker(paving, 1.06), SIDEWALK)
        flat(road.strip(near, far, -half - 0.18, half + 0.18), darker(paving, 1.25), SIDEWALK)
    flat(road.strip(near, far, -half, half), asphalt, ROAD)
    for _ in range(int(rng.integers(0, 5))):
        start, across = rng.uniform(-10, 40), rng.uniform(-half, half - 1)
        patch = road.strip(start, start + rng.uniform(1, 6), across, across + rng.uniform(0.4, 1.0))
        flat(patch, darker(asphalt, rng.uniform(0.8, 1.12)), ROAD)
    worn = rng.uniform(0.55, 0.95)
    white = mix(asphalt, (236, 236, 230), worn)
    for edge in (-half + 0.25, half - 0.37):
        flat(road.strip(near, far, edge, edge + 0.12), white, ROAD)
    for lane in range(1, road.lanes):
        across = -half + lane * road.lane_m
        if lane * 2 == road.lanes and rng.random() < 0.6:
            for shift in (-0.16, 0.06):
                flat(road.strip(near, far, across + shift, across + shift + 0.11), mix(asphalt, road.marks, worn), ROAD)
            continue
        colour = mix(asphalt, road.marks, worn) if lane * 2 == road.lanes else white
        for start in np.arange(-30 + rng.uniform(0, 6), 90, 6.0):
            flat(road.strip(start, start + 2.6, across - 0.07, across + 0.07), colour, ROAD)
    if side and rng.random() < 0.4:
        start = rng.uniform(-8, 12)
        for across in np.arange(-half + 0.4, half - 0.4, 0.95):
            flat(road.strip(start, start + 2.8, across, across + 0.5), white, ROAD)
    _weather(painter, rng, horizon)


def paint_shadows(
    painter: Painter, outlines: Sequence[Sequence[Point]], contacts: Sequence[Sequence[Point]], softness: float
) -> None:
    """Darkens the ground under and beside what stands on it.

    Args:
        painter: What holds the ground.
        outlines: Convex shadows on the ground, world points.
        contacts: Where things touch the ground, darker and soft in any light.
        softness: Blur of the shadows, pixels of the canvas.
    """
    height, width = painter.labels.shape
    horizon = max(0, int(painter.camera.centre[1]) + 1)
    shade = np.zeros((height // 2, width // 2), np.uint8)
    for points in outlines:
        pixels = painter.camera.polygon(points)
        if len(pixels) > 2 and painter.light.shadow > 0:
            hull = cv2.convexHull((pixels / 2).astype(np.float32))
            cv2.fillConvexPoly(shade, np.round(np.clip(hull, -8000, 8000)).astype(np.int32), int(255 * painter.light.shadow))
    blur = max(1.0, softness)
    shade = cv2.GaussianBlur(shade, (0, 0), blur / 2)
    touch = np.zeros_like(shade)
    for points in contacts:
        pixels = painter.camera.polygon(points)
        if len(pixels) > 2:
            cv2.fillPoly(touch, [np.round(np.clip(pixels / 2, -8000, 8000)).astype(np.int32)], 165)
    touch = cv2.GaussianBlur(touch, (0, 0), 1.6 * height / 768)
    darkness = cv2.resize(np.maximum(shade, touch), (width, height), interpolation=cv2.INTER_LINEAR)[horizon:]
    if not darkness.size:
        return
    keep = cv2.cvtColor(255 - darkness, cv2.COLOR_GRAY2RGB)
    painter.image[horizon:] = cv2.multiply(painter.image[horizon:], keep, scale=1 / 255)


def _weather(painter: Painter, rng: Generator, horizon: int) -> None:
    """Stains, and the haze that grows with the distance."""
    height, width = painter.labels.shape
    rows, half = height - horizon, (height - horizon + 1) // 2
    stains = noise(rng, (half, width // 2), (14, 9)) * 0.16 + noise(rng, (half, width // 2), (60, 48)) * 0.10 + 0.87
    keep = cv2.resize((stains * 200).astype(np.uint8), (width, rows), interpolation=cv2.INTER_LINEAR)
    depth = painter.camera.focal * painter.camera.height_m / (np.arange(rows) + 0.5)
    hazy = 1 - np.exp(-depth / painter.light.haze_m)[:, None, None]
    seen = int(np.count_nonzero(hazy > 0.02))
    ground = painter.image[horizon:]
    ground[:] = cv2.multiply(ground, cv2.cvtColor(keep, cv2.COLOR_GRAY2RGB), scale=1 / 200)
    ground[:seen] = (ground[:seen] * (1 - hazy[:seen]) + np.array(painter.light.sky[1]) * hazy[:seen]).astype(np.uint8)


def noise(rng: Generator, size: tuple[int, int], cells: tuple[int, int]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Smooth noise, float32 (H, W), 0-1."""
    smooth = cv2.resize(rng.random(cells, np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return smooth.reshape(size).astype(np.float32, copy=False)
