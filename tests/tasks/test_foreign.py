"""Datasets as other tools write them: layouts made here, and files of others where they are at hand.

SIGHTLINE_FOREIGN names a folder of others' datasets, SIGHTLINE_DATUMARO a Python that has Datumaro. Neither is needed.
"""

import contextlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from datasets import mask, picture, stripes
from PIL import Image

from sightline.errors import SightlineError
from tasks.findings import Finding
from tasks.tables import BOX, Tables
from tasks.validate import look_at

SPLITS = {"train": (0, 1, 2), "valid": (3, 4), "test": (5,)}
JOINED = {"trainval": (0, 1, 2, 3, 4), "test": (5,)}
COLOURS = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128)], np.uint8)
PANOPTIC = '{"images": [], "annotations": [{"segments_info": []}], "categories": []}'
IMAGES = 6
MAX_PIXELS = 50_000_000
BOXES = [[9, 7, 19, 24], [30, 8, 60, 40]]
"""The boxes that each image has, xyxy, from 0 and half-open; of the classes cat and dog."""


class Made(NamedTuple):
    """What is to be read from a layout."""

    format: str
    splits: dict[str, int]
    objects: int = 12
    classes: tuple[str, ...] = ("cat", "dog")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def yolo_label(path: Path) -> None:
    shares = [((a + c) / 128, (b + d) / 96, (c - a) / 64, (d - b) / 48) for a, b, c, d in BOXES]
    put(path, "".join(f"{number} {' '.join(f'{value:.6f}' for value in each)}\n" for number, each in enumerate(shares)))


def xml(path: Path, image: str, inner: str = "", more: str = "") -> None:
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><occluded>0</occluded>"
        f"<bndbox><xmin>{a + 1}</xmin><xmax>{c}</xmax><ymin>{b + 1}</ymin><ymax>{d}</ymax></bndbox>"
        f"{inner.format(a=a, b=b, c=c, d=d)}</object>"
        for name, (a, b, c, d) in zip(("cat", "dog"), BOXES, strict=True)
    )
    head = f"<folder></folder><filename>{image}</filename><path>{image}</path><source><database>Unknown</database></source>"
    size = "<size><width>64</width><height>48</height><depth>3</depth></size><segmented>0</segmented>"
    put(path, f"<annotation>{head}{size}{more}{objects}</annotation>")


def coco(path: Path, names: dict[int, str], first: int = 1, group: str = "") -> None:
    categories: list[dict[str, Any]] = [{"id": 0, "name": group, "supercategory": "none"}] if group else []
    categories += [{"id": first + at, "name": name, "supercategory": group} for at, name in enumerate(("cat", "dog"))]
    annotations = [
        {
            "id": 2 * number + place, "image_id": number, "category_id": first + place, "bbox": [a, b, c - a, d - b],
            "area": (c - a) * (d - b), "segmentation": [], "iscrowd": 0, "ignore": 0, "attributes": {"occluded": False},
        }
        for number in names
        for place, (a, b, c, d) in enumerate(BOXES)
    ]  # fmt: skip
    images = [
        {"id": number, "file_name": name, "width": 64, "height": 48, "license": 1, "flickr_url": "", "date_captured": 0}
        for number, name in names.items()
    ]
    content = {"info": {"description": ""}, "licenses": [], "images": images, "annotations": annotations}
    put(path, json.dumps(content | {"categories": categories}))


def split_images(root: Path, pattern: str) -> Iterator[tuple[str, int]]:
    """Writes the images where `pattern` says; the split and the number of each."""
    for split, numbers in SPLITS.items():
        for number in numbers:
            picture(root / pattern.format(split=split, number=f"{number:03}"), number)
            yield split, number


def flat_images(root: Path, folder: str) -> Iterator[str]:
    for number in range(IMAGES):
        picture(root / folder / f"{number:03}.jpg", number)
        yield f"{number:03}"


def roboflow_readme(root: Path) -> None:
    put(root / "README.roboflow.txt", "cells - v1\n")
    put(root / "README.dataset.txt", "# cells\n")


def roboflow_coco(root: Path) -> None:
    roboflow_readme(root)
    names: dict[str, dict[int, str]] = {}
    for split, number in split_images(root, "{split}/{number}_jpg.rf.0a1b.jpg"):
        names.setdefault(split, {})[number] = f"{number:03}_jpg.rf.0a1b.jpg"
    for split, own in names.items():
        coco(root / split / "_annotations.coco.json", own, group="animals")


def roboflow_yolo(root: Path) -> None:
    roboflow_readme(root)
    put(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n",
    )
    for split, number in split_images(root, "{split}/images/{number}_jpg.rf.0a1b.jpg"):
        yolo_label(root / f"{split}/labels/{number:03}_jpg.rf.0a1b.txt")


def roboflow_classes(root: Path) -> None:
    roboflow_readme(root)
    for split, numbers in SPLITS.items():
        for number in numbers:
            picture(root / split / "cat" / f"{number}.jpg", number)
            picture(root / split / "dog" / f"{number}.jpg", number + 100)


def roboflow_voc(root: Path) -> None:
    roboflow_readme(root)
    for split, number in split_images(root, "{split}/{number}_jpg.rf.0a1b.jpg"):
        name = f"{number:03}_jpg.rf.0a1b"
        xml(root / f"{split}/{name}.xml", f"{name}.jpg")


def roboflow_masks(root: Path) -> None:
    roboflow_readme(root)
    for split, number in split_images(root, "{split}/{number}_jpg.rf.0a1b.jpg"):
        mask(root / f"{split}/{number:03}_jpg.rf.0a1b_mask.png", stripes((0, 1, 2)))
        put(root / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n2, dog\n")


def cvat_yolo(root: Path) -> None:
    put(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    put(root / "obj.names", "cat\ndog\n")
    names = list(flat_images(root, "obj_train_data"))
    put(root / "train.txt", "".join(f"data/obj_train_data/{name}.jpg\n" for name in names))
    for name in names:
        yolo_label(root / f"obj_train_data/{name}.txt")


def cvat_ultralytics(root: Path) -> None:
    put(root / "data.yaml", "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")
    names = list(flat_images(root, "images/train"))
    put(root / "train.txt", "".join(f"data/images/train/{name}.jpg\n" for name in names))
    for name in names:
        yolo_label(root / f"labels/train/{name}.txt")


def cvat_coco(root: Path) -> None:
    names = list(flat_images(root, "images/default"))
    coco(root / "annotations/instances_default.json", {number: f"{name}.jpg" for number, name in enumerate(names, 1)})


def cvat_voc(root: Path) -> None:
    put(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:::\ncat:128,0,0::\ndog:0,128,0::\n")
    names = list(flat_images(root, "JPEGImages"))
    put(root / "ImageSets/Main/default.txt", "".join(f"{name}\n" for name in names))
    for name in names:
        xml(root / f"Annotations/{name}.xml", f"{name}.jpg", "<attributes><attribute><name>x</name></attribute></attributes>")


def cvat_masks(root: Path) -> None:
    put(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,64,128::\ndog:64,0,128::\n")
    names = list(flat_images(root, "JPEGImages"))
    put(root / "ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in names))
    for name in names:
        mask(root / f"SegmentationClass/{name}.png", COLOURS[stripes((0, 1, 2))])
        mask(root / f"SegmentationObject/{name}.png", COLOURS[stripes((0, 1, 2))])


def label_studio_coco(root: Path) -> None:
    names = list(flat_images(root, "images"))
    coco(root / "result.json", {number: f"images/{name}.jpg" for number, name in enumerate(names)}, first=0)


def label_studio_yolo(root: Path) -> None:
    put(root / "classes.txt", "cat\ndog")
    put(root / "notes.json", '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {"year": 2024}}')
    for name in flat_images(root, "images"):
        yolo_label(root / f"labels/{name}.txt")


def label_studio_coco_on_windows(root: Path) -> None:
    names = list(flat_images(root, "images"))
    coco(root / "result.json", {number: f"images\\{name}.jpg" for number, name in enumerate(names)}, first=0)


def label_studio_voc(root: Path) -> None:
    for name in flat_images(root, "images"):
        xml(root / f"Annotations/{name}.xml", f"{name}.jpg")


def label_img(root: Path) -> None:
    """XML beside the images; the path is the labeller's own."""
    for name in flat_images(root, ""):
        xml(root / f"{name}.xml", f"{name}.jpg")


def voc_in_small_letters(root: Path) -> None:
    for name in flat_images(root, "images"):
        xml(root / f"annotations/{name}.xml", f"{name}.jpg")


def voc_in_splits(root: Path) -> None:
    for split, number in split_images(root, "{split}/images/{number}.jpg"):
        xml(root / f"{split}/annotations/{number:03}.xml", f"{number:03}.jpg")


def kits_in_splits(root: Path) -> None:
    """Each of them with a list of its own, of which nothing is needed, and masks, which are no images."""
    for split, number in split_images(root, "{split}/JPEGImages/{number}.jpg"):
        xml(root / f"{split}/Annotations/{number:03}.xml", f"{number:03}.jpg")
        mask(root / f"{split}/SegmentationObject/{number:03}.png", np.zeros((48, 64), np.uint8))
        put(root / f"{split}/ImageSets/Main/{split}.txt", "")


def splits_in_a_kit(root: Path) -> None:
    for split, number in split_images(root, "JPEGImages/{split}/{number}.jpg"):
        xml(root / f"Annotations/{split}/{number:03}.xml", f"{number:03}.jpg")


def pets(root: Path) -> None:
    """Oxford-IIIT Pet: XML and masks of three values in annotations/."""
    for name in flat_images(root, "images"):
        xml(root / f"annotations/xmls/{name}.xml", f"{name}.jpg")
        mask(root / f"annotations/trimaps/{name}.png", stripes((1, 2, 3)))


def voc_with_polygons(root: Path) -> None:
    points = ("{a}", "{b}"), ("{c}", "{b}"), ("{c}", "{d}")
    outline = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
    for name in flat_images(root, "JPEGImages"):
        xml(root / f"Annotations/{name}.xml", f"{name}.jpg", f"<deleted>0</deleted><polygon>{outline}</polygon>")


def ultralytics(root: Path) -> None:
    put(
        root / "data.yaml",
        "path: pets\ntrain: images/train\nval: images/valid\ntest: images/test\nnames:\n  0: cat\n  1: dog\n",
    )
    for split, number in split_images(root, "images/{split}/{number}.jpg"):
        yolo_label(root / f"labels/{split}/{number:03}.txt")


def darknet(root: Path) -> None:
    put(root / "data/obj.names", "cat\ndog\n")
    for name in flat_images(root, "data/obj"):
        yolo_label(root / f"data/obj/{name}.txt")


def coco_2017(root: Path) -> None:
    folders = {"train": "train2017", "valid": "val2017"}
    for split, folder in folders.items():
        names = {number: f"{number:012}.jpg" for number in SPLITS[split]}
        for number, name in names.items():
            picture(root / folder / name, number)
        coco(root / f"annotations/instances_{folder}.json", names)
        put(root / f"annotations/captions_{folder}.json", '{"info": {}, "images": [], "annotations": []}')


def coco_panoptic(root: Path) -> None:
    """COCO's masks of panoptic segments beside its boxes."""
    coco_2017(root)
    for split, folder in (("train", "train2017"), ("valid", "val2017")):
        (root / "images").mkdir(exist_ok=True)
        (root / folder).rename(root / "images" / folder)
        for number in SPLITS[split]:
            mask(root / f"annotations/panoptic_{folder}/{number:012}.png", COLOURS[stripes((0, 1, 2))])
        put(root / f"annotations/panoptic_{folder}.json", PANOPTIC)


def voc_2007(root: Path) -> None:
    names = list(flat_images(root, "JPEGImages"))
    for name in names:
        xml(root / f"Annotations/{name}.xml", f"{name}.jpg")
    for split, numbers in JOINED.items():
        put(root / f"ImageSets/Main/{split}.txt", "".join(f"{names[number]}\n" for number in numbers))


def ai_tod(root: Path) -> None:
    for split, numbers in JOINED.items():
        names = {number: f"{number:03}.png" for number in numbers}
        for number, name in names.items():
            picture(root / "images" / split / name, number)
        coco(root / f"annotations/aitod_{split}_v1.json", names)


def coco_of_trainval_and_val(root: Path) -> None:
    """The images of val stand in two files."""
    flat = {number: f"{number:03}.png" for number in range(IMAGES)}
    for number, name in flat.items():
        picture(root / "images" / name, number)
    for split, numbers in {**JOINED, "val": SPLITS["valid"]}.items():
        coco(root / f"annotations/instances_{split}.json", {number: flat[number] for number in numbers})


def inside_trainval(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """As `trainval.zip` unpacks: the folder says nothing."""
    return lambda root: make(root / "trainval")


def yolo_of_trainval(root: Path) -> None:
    put(root / "classes.txt", "cat\ndog\n")
    for split, numbers in JOINED.items():
        for number in numbers:
            picture(root / f"images/{split}/{number}.jpg", number)
            yolo_label(root / f"labels/{split}/{number}.txt")


def classes_of_trainval(root: Path) -> None:
    for split, numbers in JOINED.items():
        for number in numbers:
            picture(root / split / "cat" / f"{number}.jpg", number)
            picture(root / split / "dog" / f"{number}.jpg", number + 100)


def masks_of_trainval(root: Path) -> None:
    put(root / "classes.txt", "road\ncar\nsky\n")
    for split, numbers in JOINED.items():
        for number in numbers:
            picture(root / f"images/{split}/{number}.jpg", number)
            mask(root / f"masks/{split}/{number}.png", stripes((0, 1, 2)))


def make_sense(root: Path) -> None:
    """Labels alone, which people put beside the images."""
    put(root / "classes.txt", "cat\ndog\n")
    for name in flat_images(root, "images"):
        yolo_label(root / f"annotations/{name}.txt")


def camvid(root: Path) -> None:
    put(root / "class_dict.csv", "name,r,g,b\nroad,0,0,0\ncar,128,64,128\nsky,64,0,128\n")
    for split, folder in (("train", "train"), ("valid", "val"), ("test", "test")):
        for number in SPLITS[split]:
            picture(root / f"{folder}/{number:03}.png", number)
            mask(root / f"{folder}_labels/{number:03}_L.png", COLOURS[stripes((0, 1, 2))])


def cityscapes(root: Path) -> None:
    put(root / "classes.txt", "road\ncar\nsky\n")
    for split, folder in (("train", "train"), ("valid", "val"), ("test", "test")):
        for number in SPLITS[split]:
            name = f"ulm/ulm_{number:06}_000019"
            picture(root / f"leftImg8bit/{folder}/{name}_leftImg8bit.png", number)
            mask(root / f"gtFine/{folder}/{name}_gtFine_labelIds.png", stripes((0, 1, 2)))
            mask(root / f"gtFine/{folder}/{name}_gtFine_instanceIds.png", stripes((0, 1, 2)))
            mask(root / f"gtFine/{folder}/{name}_gtFine_color.png", COLOURS[stripes((0, 1, 2))])
            put(root / f"gtFine/{folder}/{name}_gtFine_polygons.json", '{"objects": []}')


def cityscapes_to_train(root: Path) -> None:
    """Its masks of what is learnt, 255 elsewhere."""
    put(root / "classes.txt", "road\ncar\nsky\n")
    for split, folder in (("train", "train"), ("valid", "val"), ("test", "test")):
        for number in SPLITS[split]:
            name = f"ulm/ulm_{number:06}_000019"
            picture(root / f"leftImg8bit/{folder}/{name}_leftImg8bit.png", number)
            mask(root / f"gtFine/{folder}/{name}_gtFine_labelTrainIds.png", stripes((0, 1, 2, 255)))
            mask(root / f"gtFine/{folder}/{name}_gtFine_instanceIds.png", stripes((0, 1, 2)))


def masks_with_colours(root: Path) -> None:
    put(root / "labelmap.csv", "name,r,g,b\nroad,0,0,0\ncar,128,64,128\nsky,64,0,128\n")
    for name in flat_images(root, "images"):
        mask(root / f"masks/{name}_segmentation.png", COLOURS[stripes((0, 1, 2))])


ALL = {"": 6}
THREE = {"train": 3, "val": 2, "test": 1}
TWO = {"train": 5, "test": 1}
STREET = ("road", "car", "sky")
LAYOUTS: dict[str, tuple[Callable[[Path], None], Made]] = {
    "Roboflow, COCO": (roboflow_coco, Made("coco", THREE)),
    "Roboflow, YOLO": (roboflow_yolo, Made("yolo", THREE)),
    "Roboflow, class folders": (roboflow_classes, Made("class_folders", {"train": 6, "val": 4, "test": 2})),
    "Roboflow, VOC": (roboflow_voc, Made("voc", THREE)),
    "Roboflow, masks": (roboflow_masks, Made("masks", THREE, 0, ("background", "cat", "dog"))),
    "CVAT, YOLO 1.1": (cvat_yolo, Made("yolo", {"train": 6})),
    "CVAT, Ultralytics YOLO": (cvat_ultralytics, Made("yolo", {"train": 6})),
    "CVAT, COCO": (cvat_coco, Made("coco", ALL)),
    "CVAT, VOC": (cvat_voc, Made("voc", ALL)),
    "CVAT, masks": (cvat_masks, Made("masks", ALL, 0, ("background", "cat", "dog"))),
    "Label Studio, COCO": (label_studio_coco, Made("coco", ALL)),
    "Label Studio, YOLO": (label_studio_yolo, Made("yolo", ALL)),
    "Label Studio, COCO on Windows": (label_studio_coco_on_windows, Made("coco", ALL)),
    "Label Studio, VOC": (label_studio_voc, Made("voc", ALL)),
    "labelImg": (label_img, Made("voc", ALL)),
    "LabelMe's polygons in VOC": (voc_with_polygons, Made("voc", ALL)),
    "VOC in small letters": (voc_in_small_letters, Made("voc", ALL)),
    "VOC in folders of splits": (voc_in_splits, Made("voc", THREE)),
    "VOC's kit in folders of splits": (kits_in_splits, Made("voc", THREE)),
    "Folders of splits in VOC's kit": (splits_in_a_kit, Made("voc", THREE)),
    "Pets": (pets, Made("voc", ALL)),
    "Make Sense, YOLO": (make_sense, Made("yolo", ALL)),
    "Ultralytics": (ultralytics, Made("yolo", THREE)),
    "darknet": (darknet, Made("yolo", ALL)),
    "COCO 2017": (coco_2017, Made("coco", {"train": 3, "val": 2}, 10)),
    "COCO panoptic": (coco_panoptic, Made("coco", {"train": 3, "val": 2}, 10)),
    "CamVid": (camvid, Made("masks", THREE, 0, STREET)),
    "Cityscapes": (cityscapes, Made("masks", THREE, 0, STREET)),
    "Cityscapes, to train": (cityscapes_to_train, Made("masks", THREE, 0, STREET)),
    "Masks with labelmap.csv": (masks_with_colours, Made("masks", ALL, 0, STREET)),
    "VOC 2007": (voc_2007, Made("voc", TWO)),
    "AI-TOD": (ai_tod, Made("coco", TWO)),
    "YOLO, a folder trainval": (yolo_of_trainval, Made("yolo", TWO)),
    "Class folders, a folder trainval": (classes_of_trainval, Made("class_folders", {"train": 10, "test": 2})),
    "Masks, a folder trainval": (masks_of_trainval, Made("masks", TWO, 0, STREET)),
    "COCO, trainval beside val": (coco_of_trainval_and_val, Made("coco", {"train": 3, "val": 2, "test": 1})),
    "VOC 2007 inside trainval": (inside_trainval(voc_2007), Made("voc", TWO)),
    "Ultralytics inside trainval": (inside_trainval(ultralytics), Made("yolo", THREE)),
    "COCO 2017 inside trainval": (inside_trainval(coco_2017), Made("coco", {"train": 3, "val": 2}, 10)),
    "CamVid inside trainval": (inside_trainval(camvid), Made("masks", THREE, 0, STREET)),
}
EXPECTED_OF_FEW = {"class.few", "split.few", "split.empty", "image.near"}
"""What is told of so small a dataset."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tool_s_export_is_read_whole(name: str, tmp_path: Path) -> None:
    make, want = LAYOUTS[name]
    make(tmp_path)
    found, stored, told = look_at(tmp_path, "auto", MAX_PIXELS)
    tables = stored.read()
    assert [str(each) for each in told if each.severity != "info" and each.code not in EXPECTED_OF_FEW] == []
    got = Made(
        found, dict(Counter(tables.images["split"])), len(tables.objects), tuple(tables.classes.sort_values("id")["name"])
    )
    assert got == want
    if found in ("voc", "yolo", "coco"):
        for _, objects in tables.objects.groupby("image_id"):
            assert objects[BOX].to_numpy() == pytest.approx(np.array(BOXES), abs=1e-4)


# Others' files, and another reader

THEIRS = {
    "coco": "coco", "coco_instances": "coco", "coco_stuff": "coco", "coco_person_keypoints": "coco", "mmdet_coco": "coco",
    "roboflow_coco": "coco", "roboflow_voc": "voc", "voc": "voc", "voc_detection": "voc", "yolo": "yolo",
    "roboflow_yolo": "yolo",
    "imagenet": "class_folders", "imagenet_with_subset_dirs": "class_folders", "camvid": "masks", "cityscapes": "masks",
    "common_semantic_segmentation": "masks",
}  # fmt: skip
"""Datumaro's formats, and what they are here."""
BUILT_IN = "Datumaro has the colours of this dataset built in, or a file of its own; here a class file has to name them"
DIFFERENT = {
    "camvid_dataset": BUILT_IN,
    "common_semantic_segmentation_dataset/dataset": BUILT_IN,
    "common_semantic_segmentation_dataset/non_standard_dataset": "its dataset_meta.json tells Datumaro the prefix of the masks",
    "cityscapes_dataset": "two datasets beside each other, and no labels of folders",
    "cityscapes_dataset/train_dataset": BUILT_IN,
    **dict.fromkeys(
        [f"cityscapes_dataset/train_dataset/gtFine{folder}" for folder in ("", "/test", "/train", "/val")],
        "masks alone, taken for pictures: those of 16 bits are no pictures here",
    ),
    **dict.fromkeys(
        ("roboflow_dataset/yolo/train", "roboflow_dataset/yolo/val"),
        "Datumaro takes the names of the classes from the folder above, which is no part of the dataset here",
    ),
    "imagenet_subsets_dataset": "images outside a folder of a class have no label; folders in a class folder are no classes",
}
"""Folders of Datumaro's own tests (tests/assets) that it reads otherwise, and why that is right."""
DATUMARO = """
import contextlib, io, json, logging, sys, warnings
from collections import Counter
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from datumaro.components.environment import Environment

def count(path, format):
    dataset = Dataset.import_from(path, format)
    names = [each.name for each in dataset.categories().get(AnnotationType.label, [])]
    ids, boxes, labels, pixels = set(), Counter(), Counter(), Counter()
    for item in dataset:
        if item.subset == "trainval":  # VOC's list of images that stand in two others
            continue
        ids.add((item.subset, item.id))
        for each in item.annotations:
            if each.type == AnnotationType.bbox:
                boxes[names[each.label]] += 1
            elif each.type == AnnotationType.label:
                labels[names[each.label]] += 1
            elif each.type == AnnotationType.mask:
                pixels[names[each.label]] += int(each.image.sum())
    return {"images": len(ids), "objects": boxes or labels, "pixels": pixels}

environment, found = Environment(), {}
for path, format in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            formats = [format] if format else environment.detect_dataset(path)
        except ModuleNotFoundError:  # a format's own
            formats = []
        counts = {}
        for each in formats:
            try:
                counts[each] = count(path, each)
            except Exception as error:
                counts[each] = {"failed": repr(error)}
        found[path] = counts
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def foreign() -> list[Path]:
    """Every folder below others' datasets."""
    top = os.environ.get("SIGHTLINE_FOREIGN")
    if not top:
        pytest.skip("no datasets of others here: set SIGHTLINE_FOREIGN to a folder of them")
    return [Path(top), *sorted(path for path in Path(top).rglob("*") if path.is_dir())]


def ask_datumaro(jobs: list[tuple[Path, str]]) -> dict[str, dict[str, dict[str, Any]]]:
    """What Datumaro counts in each folder, by the format that it finds or is given."""
    python = os.environ.get("SIGHTLINE_DATUMARO")
    if not python:
        pytest.skip("no Datumaro here: set SIGHTLINE_DATUMARO to a Python that has it")
    asked = json.dumps([[str(path), name] for path, name in jobs])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, "-c", DATUMARO], input=asked, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(done.stdout)
    return found


def labels(tables: Tables) -> dict[str, int]:
    names = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    return dict(Counter(names[label] for label in tables.objects["label"]))


@pytest.mark.slow
def test_others_files_are_read_or_refused_in_words(foreign: list[Path]) -> None:
    told: list[Finding] = []
    refusals = {}
    for folder in foreign:
        try:
            told += look_at(folder, "auto", MAX_PIXELS)[2]
        except SightlineError as error:
            refusals[folder] = str(error)
    assert len(refusals) < len(foreign)
    assert [str(each) for each in told if not (each.got and each.expected and each.remedy)] == []
    words = ("not a dataset of a known format", "fit alike: set dataset.format", "expected")
    wrong = {text for folder, text in refusals.items() if str(folder) not in text or not any(word in text for word in words)}
    assert wrong == set()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_datumaro_counts_the_same(foreign: list[Path]) -> None:
    top, read = foreign[0], {}
    for folder in foreign:
        with contextlib.suppress(SightlineError):
            read[folder] = look_at(folder, "auto", MAX_PIXELS)[:2]
    datumaro = ask_datumaro([(folder, "") for folder in read])
    compared, different = 0, {}
    for folder, (name, stored) in read.items():
        counts = datumaro[str(folder)].items()
        theirs = {THEIRS[each]: count for each, count in counts if each in THEIRS and "failed" not in count}
        if name not in theirs:
            continue
        compared += 1
        tables, own = stored.read(), folder.relative_to(top).as_posix()
        ours, other = (len(tables.images), labels(tables)), (theirs[name]["images"], theirs[name]["objects"])
        if ours != other:
            different[own] = (name, ours, theirs[name])
        counted = (str(value) for images, objects in (ours, other) for value in (images, sum(objects.values())))
        print(f"| {own} | {name} | {' | '.join(counted)} | {'the same' if ours == other else DIFFERENT.get(own, '?')} |")
    assert compared
    assert {name: values for name, values in different.items() if name not in DIFFERENT} == {}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_datumaro_counts_the_same_in_real_datasets(real_data: Path, tmp_path: Path) -> None:
    bccd, cells, flowers = real_data / "bccd", tmp_path / "bccd", real_data / "cifar10"
    tables = look_at(bccd, "voc", MAX_PIXELS)[1].read()
    cells.mkdir()
    for path in bccd.iterdir():
        (cells / path.name).symlink_to(path)
    (cells / "labelmap.txt").write_text("".join(f"{name}:::\n" for name in tables.classes["name"]))
    streets = list(camvid_for_datumaro(real_data / "camvid", tmp_path))
    jobs = [(cells, "voc_detection"), (flowers, "imagenet"), *((path, "common_semantic_segmentation") for path in streets)]
    found = {path: next(iter(counts.values())) for path, counts in ask_datumaro(jobs).items()}
    assert (found[str(cells)]["images"], found[str(cells)]["objects"]) == (len(tables.images), labels(tables))
    tables = look_at(flowers, "class_folders", MAX_PIXELS)[1].read()
    assert (found[str(flowers)]["images"], found[str(flowers)]["objects"]) == (len(tables.images), labels(tables))
    tables = look_at(real_data / "camvid", "masks", MAX_PIXELS)[1].read()
    assert sum(found[str(path)]["images"] for path in streets) == len(tables.images)
    pixels = sum((Counter(found[str(path)]["pixels"]) for path in streets), Counter[str]())
    assert dict(pixels) == pixels_of(real_data / "camvid", tables)


def camvid_for_datumaro(root: Path, out: Path) -> Iterator[Path]:
    """Each split as Datumaro wants it: images/, masks/, and the classes in a file of its own."""
    names = (root / "classes.txt").read_text().split("\n")
    named = {str(number): name for number, name in enumerate(names) if name}
    for split in ("train", "val", "test"):
        folder = out / split
        folder.mkdir()
        for kind in ("images", "masks"):
            (folder / kind).symlink_to(root / kind / split)
        colours = [[number] * 3 for number in range(len(named))]
        (folder / "dataset_meta.json").write_text(json.dumps({"label_map": named, "segmentation_colors": colours}))
        yield folder


def pixels_of(root: Path, tables: Tables) -> dict[str, int]:
    """The pixels of each class in the masks."""
    counts = np.zeros(256, np.int64)
    for path in tables.images["mask"]:
        with Image.open(root / path) as opened:
            counts += np.bincount(np.asarray(opened).ravel(), minlength=256)
    return {row.name: int(counts[row.value]) for row in tables.classes.itertuples(index=False) if counts[row.value]}
