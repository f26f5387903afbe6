"""Small labelled datasets for tests."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tasks import formats
from tasks.formats import Reading
from tasks.scan import scan
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


def read(name: str, root: Path) -> Reading:
    """What the format `name` reads from `root`."""
    module = formats.load(name)
    return module.read(root, scan(root, module.image_files(root), 50_000_000))


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of images or objects with the columns that a test has no use for."""
    defaults = (
        {"orientation": 1, "mask": None, "group": frame["hash"]} if "hash" in frame else {"rle": None, "truncated": False}
    )
    return frame.assign(**{name: value for name, value in defaults.items() if name not in frame})


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
    return Tables(complete(images), complete(pd.DataFrame(rows)), classes)


def yolo(root: Path, images: int = 30, splits: bool = True) -> Path:
    """A clean YOLO dataset of two classes, in Ultralytics' layout."""
    names = {"train": range(20), "val": range(20, 25), "test": range(25, images)} if splits else {"": range(images)}
    for split, indices in names.items():
        for index in indices:
            picture(root / "images" / split / f"{index:03}.jpg", index)
            label = root / "labels" / split / f"{index:03}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.15625 0.208333 0.3125 0.416667\n1 0.726563 0.59375 0.546875 0.8125\n")
    folders = "".join(f"{split}: images/{split}\n" for split in names if split)
    (root / "data.yaml").write_text(f"{folders}nc: 2\nnames: [cat, dog]\n")
    return root


def mask(path: Path, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    """Writes a mask: grey where `pixels` has two axes, colours where it has three."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def stripes(values: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A mask whose columns have the values in turn."""
    return np.tile(np.resize(np.array(values, np.uint8), size[0]), (size[1], 1))


def masks(root: Path, images: int = 30) -> Path:
    """Clean masks of three classes and one that is ignored, in splits."""
    for index in range(images):
        split = "train" if index < 20 else "val" if index < 25 else "test"
        picture(root / f"images/{split}/{index:03}.jpg", index)
        mask(root / f"masks/{split}/{index:03}.png", stripes((0, 0, 1, 2, 3)))
    (root / "classes.txt").write_text("road\ncar\ntree\nunlabelled\n")
    return root


def class_csv(root: Path, images: int = 30) -> Path:
    """Clean tables of two classes in three splits; images have both of them, one or none."""
    for split, indices in {"train": range(20), "valid": range(20, 25), "test": range(25, images)}.items():
        for index in indices:
            picture(root / split / f"{index:03}.jpg", index)
        lines = (f"{index:03}.jpg,{int(index % 2 == 0)},{int(index % 3 == 0)}\n" for index in indices)
        (root / split / "_classes.csv").write_text("filename,cat,dog\n" + "".join(lines))
    return root


def coco(root: Path, images: int = 30) -> Path:
    """A clean COCO dataset of two classes in three splits, with boxes and polygons."""
    for split, indices in {"train": range(20), "val": range(20, 25), "test": range(25, images)}.items():
        annotations: list[dict[str, object]] = []
        for index in indices:
            picture(root / f"images/{split}/{index:03}.jpg", index)
            for category, box in ((1, [0, 0, 20, 20]), (2, [29, 9, 35, 39])):
                x, y, width, height = box
                outline = [x, y, x + width, y, x + width, y + height, x, y + height]
                shape = {"bbox": box, "segmentation": [outline], "area": width * height, "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "image_id": index, "category_id": category} | shape)
        content = {
            "images": [{"id": index, "file_name": f"{index:03}.jpg", "width": 64, "height": 48} for index in indices],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        path = root / f"annotations/instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root
