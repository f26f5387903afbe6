"""Generated scenes as a source: what is written, and that more of them change none of the earlier ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import pytest
from PIL import Image

from tasks import formats, schema
from tasks.scenes import CLASSES, SEMANTIC, draw_scene
from tasks.sources import generated


def config(**values: Any) -> schema.Dataset:
    given = {"name": "traffic", "source": "generated", "format": "voc", "path": None, "sha256": None}
    return schema.Dataset.model_validate({**given, "images": 12, "width": 160, "height": 128, "seed": 3, **values})


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("voc") / "raw"
    generated.fetch(config(), out)
    return out


def test_voc_is_the_ground_truth_of_the_scenes(voc: Path) -> None:
    tables = datasets.read("voc", voc).tables
    names = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    for index in range(12):
        scene = draw_scene(3, index, 160, 128)
        own = tables.objects[tables.objects["image_id"] == f"JPEGImages/{index:06d}"]
        rows = own[["label", "xmin", "ymin", "xmax", "ymax", "difficult"]].itertuples(index=False)
        got = [(names[row.label], row.xmin, row.ymin, row.xmax, row.ymax, row.difficult) for row in rows]
        assert got == [(item.label, *item.box, item.difficult) for item in scene.objects]
        assert [len(polygons) for polygons in own["polygons"]] == [len(item.polygons) for item in scene.objects]


def test_masks_hold_the_indices_in_voc_s_colours(voc: Path) -> None:
    scene = draw_scene(3, 4, 160, 128)
    for folder, mask in (("SegmentationClass", scene.semantic), ("SegmentationObject", scene.instances)):
        with Image.open(voc / folder / "000004.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), mask)
            assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # type: ignore[index]


def test_more_scenes_change_none_and_cores_change_nothing(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "available_cores", lambda: 1)
    generated.fetch(config(images=20), tmp_path / "raw")
    more = read(tmp_path / "raw")
    fewer = read(voc)
    assert len(more) == 80
    assert {name: more[name] for name in fewer} == fewer


def test_auto_is_voc(voc: Path, tmp_path: Path) -> None:
    generated.fetch(config(format="auto"), tmp_path / "raw")
    assert read(tmp_path / "raw") == read(voc)


def test_class_folders_hold_one_vehicle_an_image(tmp_path: Path) -> None:
    generated.fetch(config(format="class_folders", images=60), tmp_path / "raw")
    tables = datasets.read("class_folders", tmp_path / "raw").tables
    assert list(tables.classes["name"]) == sorted(CLASSES)
    counts = tables.objects["label"].value_counts()
    assert counts.sum() == len(tables.images) == 60
    assert counts.min() >= 4
    assert tables.images["width"].nunique() > 10
    assert (tables.images[["width", "height"]].max(axis=1) >= 12).all()


@pytest.mark.parametrize("name", ["yolo", "coco", "masks"])
def test_scenes_in_every_format_that_holds_them(name: str, voc: Path, tmp_path: Path) -> None:
    generated.fetch(config(format=name), tmp_path / "raw")
    assert formats.detect(tmp_path / "raw") == name
    reading = datasets.read(name, tmp_path / "raw")
    assert [item for item in reading.findings if item.severity == "error"] == []
    whole = datasets.read("voc", voc).tables
    assert sorted(reading.tables.images["hash"]) == sorted(whole.images["hash"])
    if name == "masks":
        assert tuple(reading.tables.classes["name"]) == SEMANTIC
    else:
        assert len(reading.tables.objects) == len(whole.objects)


def test_semantic_classes_are_named() -> None:
    assert SEMANTIC[-4:] == CLASSES
    assert len(SEMANTIC) == len(set(SEMANTIC))


def test_workers_die_with_the_stage(root: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom tasks import schema\nfrom tasks.sources import generated\n"
        f"generated.fetch(schema.Dataset.model_validate({config(images=5000).model_dump()!r}), Path({str(tmp_path / 'raw')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 30
    while len(workers) < len(os.sched_getaffinity(0)) and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    time.sleep(1.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(workers, timeout=5)[1]
