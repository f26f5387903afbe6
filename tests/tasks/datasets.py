"""Small labelled datasets for tests."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tasks.tables import Tables


def picture(path: Path, seed: int, size: tuple[int, int] = (64, 48), exif_orientation: int = 1) -> None:
    """Writes a picture of smooth colour that differs by seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = exif_orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).save(path, exif=exif)


def annotation(path: Path, boxes: list[tuple[str, float, float, float, float]], size: tuple[int, int] = (64, 48)) -> None:
    """Writes a VOC annotation; boxes are as the file has them, 1-based."""
    objects = "\n".join(
        f"<object>\n<name>{name}</name>\n<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>\n</object>"
        for name, a, b, c, d in boxes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation>\n<filename>{path.stem}.jpg</filename>\n"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n{objects}\n</annotation>\n"
    )


def voc(root: Path, images: int = 30, splits: bool = True) -> Path:
    """A clean VOC dataset of two classes."""
    for index in range(images):
        picture(root / f"JPEGImages/{index:03}.jpg", index)
        annotation(root / f"Annotations/{index:03}.xml", [("cat", 1, 1, 20, 20), ("dog", 30, 10, 64, 48)])
    if splits:
        lists = root / "ImageSets/Main"
        lists.mkdir(parents=True)
        for split, indices in {"train": range(20), "val": range(20, 25), "test": range(25, images)}.items():
            (lists / f"{split}.txt").write_text("".join(f"{index:03}\n" for index in indices))
    return root


def class_folders(root: Path, images: int = 30) -> Path:
    """Clean class folders of two classes."""
    for name, start in (("cat", 0), ("dog", 1000)):
        for index in range(images):
            picture(root / name / f"{index:03}.jpg", start + index)
    return root


def tables(boxes: list[tuple[int, int, int, int, int, bool]], whole: bool = False) -> Tables:
    """Tables of one image an object, (label, xmin, ymin, xmax, ymax, difficult), or of its class alone."""
    ids = [f"{index:03}" for index in range(len(boxes))]
    images = pd.DataFrame(
        {
            "image_id": ids,
            "store": "raw",
            "path": [f"{name}.jpg" for name in ids],
            "width": 64,
            "height": 48,
            "split": "train",
            "hash": ids,
        }
    )
    rows = [
        {
            "image_id": name,
            "label": box[0],
            "polygons": None,
            "iscrowd": False,
            "difficult": box[5] and not whole,
            "file": "",
            "line": 0,
        }
        | dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
        | ({} if whole else dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, box[1:5]), strict=True)))
        for name, box in zip(ids, boxes, strict=True)
    ]
    labels = sorted({box[0] for box in boxes})
    classes = pd.DataFrame({"id": labels, "name": [f"class{label}" for label in labels], "ignore": False})
    return Tables(images, pd.DataFrame(rows), classes)
