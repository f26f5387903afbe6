"""Traffic scenes drawn from a seed: `dataset.images`, `width`, `height` and `seed` fix every byte."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sightline.cores import available_cores
from tasks import formats, schema
from tasks.formats import Item, ItemObject
from tasks.progress import track
from tasks.stage import die_with_parent

QUALITY = 92  # of the JPEGs
CROP_MARGIN = 0.12  # around a vehicle that is cut out for classification, as a share of its box
_CHUNK = 8  # scenes that a process draws in one go


def listing(config: schema.Dataset) -> list[tuple[str, str]]:
    """Nothing: params.yaml alone decides the scenes."""
    return []


def fetch(config: schema.Dataset, out: Path) -> None:
    """Draws the scenes on all cores and writes them in `dataset.format`; `auto` is voc.

    A format that holds one class an image gets one vehicle an image, cut out of its scene.
    """
    from tasks.scenes import SEMANTIC

    module = formats.load("voc" if config.format == "auto" else config.format)
    make = _scene if module.HOLDS & {"box", "mask"} else _crop
    classes = SEMANTIC if "mask" in module.HOLDS else ()
    spawn = multiprocessing.get_context("spawn")  # a fork would take over OpenCV's threads, which do not live on in it
    with ProcessPoolExecutor(available_cores(), spawn, _start, (os.getpid(),)) as pool:
        items: Iterator[Item] = pool.map(partial(make, config), range(config.images), chunksize=_CHUNK)
        module.write(track(items, "ingest", config.images, "scenes"), out, classes)


def _start(parent: int) -> None:
    """Readies a worker; the parent may have died before the kernel was told to end both together."""
    import cv2

    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    cv2.setNumThreads(1)


def _scene(config: schema.Dataset, index: int) -> Item:
    """A whole scene."""
    from tasks.scenes import CLASSES, SEMANTIC, draw_scene

    scene = draw_scene(config.seed, index, config.width, config.height)
    objects = tuple(
        ItemObject(item.label, item.box, item.polygons, difficult=item.difficult, truncated=item.truncated)
        for item in scene.objects
    )
    masks = {"semantic": _mask(scene.semantic, len(SEMANTIC)), "instances": _mask(scene.instances, len(CLASSES) + 28)}
    return Item(f"{index:06d}", ".jpg", _jpeg(scene.image), config.width, config.height, objects, masks=masks)


def _crop(config: schema.Dataset, index: int) -> Item:
    """One vehicle of a scene; the class whose turn it is goes first, so that classes are about as frequent."""
    from tasks.scenes import CLASSES, draw_scene

    scene = draw_scene(config.seed, index, config.width, config.height)
    wanted = CLASSES[index % len(CLASSES)]
    whole = [item for item in scene.objects if not item.difficult]
    chosen = max(
        whole,
        key=lambda item: (item.label == wanted, (item.box[2] - item.box[0]) * (item.box[3] - item.box[1])),
    )
    xmin, ymin, xmax, ymax = chosen.box
    margin = round(CROP_MARGIN * max(xmax - xmin, ymax - ymin)) + 1
    rows = slice(max(0, ymin - margin), min(config.height, ymax + margin))
    columns = slice(max(0, xmin - margin), min(config.width, xmax + margin))
    image = scene.image[rows, columns]
    return Item(f"{index:06d}", ".jpg", _jpeg(image), image.shape[1], image.shape[0], (ItemObject(chosen.label),))


def _jpeg(image: Any) -> bytes:
    import numpy as np
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), QUALITY, "RGB", "420"))


def _mask(mask: Any, values: int) -> bytes:
    """A palette PNG, as VOC's masks are, with VOC's colours."""
    import io

    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.asarray(mask, np.uint8), "L")
    picture.putpalette(_palette(values))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _palette(values: int) -> bytes:
    """VOC's colour map: the bits of the index, spread over the three channels (VOCdevkit, VOClabelcolormap.m)."""
    colours = bytearray()
    for index in range(values):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours += bytes(channels)
    return bytes(colours)
