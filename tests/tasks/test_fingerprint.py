import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import complete, masks
from PIL import Image

from sightline.contract import sha256_of
from sightline.errors import SightlineError
from tasks import dataset_statistics as statistics
from tasks import fingerprint_plots as plots
from tasks.contact_sheet import BOXED, GAP, choose, contact_sheet
from tasks.content_hash import content_hash
from tasks.draw import draw
from tasks.fingerprint import Config, Paths, fingerprint
from tasks.masks import encode_rle
from tasks.scan import scan_file
from tasks.table_builder import TableBuilder
from tasks.tables import BOX, CLASSES, IMAGES, OBJECTS, Dataset, Sample, Tables

NAMES = ["car", "_bus$", "$truck$"]  # matplotlib hides leading underscores and reads dollars as formulas
SIZE = (64, 48)
COLUMNS = [name for name in OBJECTS.names if name not in ("rle", "truncated")]
SPLIT_OF = ["train", "train", "train", "val", "test"]


def tables(raw: Path, boxed: bool, images: int = 20) -> Tables:
    """A dataset in which image i has the class i % 3; with boxes, one more of the class 0."""
    generator = np.random.default_rng(0)
    image_rows: list[tuple[Any, ...]] = []
    object_rows: list[tuple[Any, ...]] = []
    for index in range(images):
        name = f"image_{index:02}"
        pixels = generator.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        raw.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / f"{name}.png")
        image_rows.append((name, "raw", f"{name}.png", *SIZE, SPLIT_OF[index % 5], sha256_of(raw / f"{name}.png")))
        boxes: list[tuple[float | None, ...]] = [(4.0, 6.0, 20.0 + index, 30.0), (30.0, 8.0, 34.5, 12.0)]
        for label, box in zip((index % 3, 0), boxes if boxed else [(None,) * 4], strict=False):
            object_rows.append((name, label, *box, None, False, False, f"{name}.xml", 0))
    return Tables(
        pd.DataFrame(image_rows, columns=[*IMAGES.names[:5], "split", "hash"]).pipe(complete),
        pd.DataFrame(object_rows, columns=COLUMNS).pipe(complete).astype(dict.fromkeys(BOX, float)),
        pd.DataFrame([(index, name, False) for index, name in enumerate(NAMES)], columns=CLASSES.names),
    )


def run(tmp_path: Path, boxed: bool, name: str = "report") -> tuple[dict[str, float], Path]:
    if not (tmp_path / "dataset").exists():
        tables(tmp_path / "raw", boxed).write(tmp_path / "dataset")
    metrics = fingerprint(Paths(tmp_path / "raw", tmp_path / "dataset", tmp_path / name), Config())
    return metrics, tmp_path / name


def metadata_of(report: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((report / "dataset_metadata.json").read_text())
    return data


def test_boxes_are_described(tmp_path: Path) -> None:
    metrics, report = run(tmp_path, boxed=True)
    metadata = metadata_of(report)
    assert metrics == {"images": 20, "objects": 40, "classes": 3}
    assert metadata["task"] == "detect"
    assert metadata["splits"] == {"train": 12, "val": 4, "test": 4}
    assert metadata["classes"] == {"car": 27, "_bus$": 7, "$truck$": 6}
    assert sum(sum(counts.values()) for counts in metadata["classes_by_split"].values()) == 40
    assert metadata["resolutions"] == {"64x48": 20}
    assert metadata["objects_per_image"]["mean"] == 2
    assert (metadata["boxes"]["width"]["min"], metadata["boxes"]["width"]["max"]) == (4.5, 35)
    assert metadata["boxes"]["area_share"]["min"] == pytest.approx(4.5 * 4 / (64 * 48), rel=1e-5)
    assert metadata["boxes"]["aspect"]["max"] == pytest.approx(35 / 24, rel=1e-5)
    assert metadata["provenance"]["stores"] == {"raw": 20}
    assert metadata["provenance"]["tables"]["classes"] == ["id", "name", "ignore"]
    assert str(tmp_path) not in json.dumps(metadata)


def test_whole_image_labels_are_described(tmp_path: Path) -> None:
    metrics, report = run(tmp_path, boxed=False)
    metadata = metadata_of(report)
    assert metrics == {"images": 20, "objects": 20, "classes": 3}
    assert metadata["task"] == "classify"
    assert metadata["classes"] == {"car": 7, "_bus$": 7, "$truck$": 6}
    assert "boxes" not in metadata


def test_pixel_statistics_are_those_of_the_training_split(tmp_path: Path) -> None:
    _, report = run(tmp_path, boxed=True)
    dataset = Dataset.read(tmp_path / "raw", tmp_path / "dataset")
    pixels = np.stack([np.asarray(Image.open(sample.path)) for sample in dataset.samples("train")]).reshape(-1, 3) / 255
    metadata = metadata_of(report)
    np.testing.assert_allclose(metadata["pixel_mean"], pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(metadata["pixel_std"], pixels.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("boxed", "expected"),
    [
        (True, ["box_sizes.png", "class_distribution.png", "samples.png"]),
        (False, ["class_distribution.png", "samples.png"]),
    ],
)
def test_plots_decode_and_hold_no_metadata(tmp_path: Path, boxed: bool, expected: list[str]) -> None:
    _, report = run(tmp_path, boxed)
    assert sorted(path.name for path in report.glob("*.png")) == expected
    for name in expected:
        with Image.open(report / name) as image:
            image.load()
            assert min(image.size) > 100
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10
            assert not {"Software", "Creation Time"} & set(image.info)


@pytest.mark.parametrize("boxed", [True, False])
def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path, boxed: bool) -> None:
    _, first = run(tmp_path, boxed, "first")
    _, second = run(tmp_path, boxed, "second")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert [sha256_of(first / name) for name in names] == [sha256_of(second / name) for name in names]


@pytest.mark.parametrize("boxed", [True, False])
def test_content_hash_is_independent_of_order_names_and_place(tmp_path: Path, boxed: bool) -> None:
    original = tables(tmp_path / "raw", boxed)
    images, objects, classes = original.images.copy(), original.objects.copy(), original.classes
    images["image_id"], objects["image_id"] = "moved/" + images["image_id"], "moved/" + objects["image_id"]
    images["path"], objects["file"], objects["line"] = "elsewhere/" + images["path"], "a.json", 7
    moved = Tables(images.sample(frac=1, random_state=1), objects.sample(frac=1, random_state=2), classes[::-1])
    assert content_hash(moved, tmp_path) == content_hash(original, tmp_path)


@pytest.mark.parametrize("is_same", [True, False])
def test_content_hash_of_an_image_that_was_written_is_of_its_pixels(is_same: bool, tmp_path: Path) -> None:
    dataset = tables(tmp_path / "raw", boxed=True)
    dataset.images["store"] = "dataset"
    before = content_hash(dataset, tmp_path / "raw")
    for path in (tmp_path / "raw").iterdir():  # as another zlib would write it
        with Image.open(path) as opened:
            image = opened.copy() if is_same else opened.rotate(180)
        old = path.read_bytes()
        image.save(path, compress_level=1)
        assert path.read_bytes() != old
    dataset.images["hash"] = [sha256_of(tmp_path / "raw" / path) for path in dataset.images["path"]]
    assert (content_hash(dataset, tmp_path / "raw") == before) == is_same


def test_content_hash_survives_writing_and_reading(tmp_path: Path) -> None:
    original = tables(tmp_path / "raw", boxed=True)
    original.objects.at[3, "polygons"] = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    original.write(tmp_path / "dataset")
    assert content_hash(Tables.read(tmp_path / "dataset"), tmp_path) == content_hash(original, tmp_path)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("objects", "label", 2),
        ("objects", "xmax", 63.0),
        ("objects", "difficult", True),
        ("objects", "iscrowd", True),
        ("objects", "image_id", "image_07"),
        ("images", "split", "test"),
        ("images", "hash", "0" * 64),
        ("images", "width", 65),
        ("classes", "name", "van"),
    ],
)
def test_content_hash_changes_with_the_content(tmp_path: Path, table: str, column: str, value: object) -> None:
    dataset = tables(tmp_path / "raw", boxed=True)
    before = content_hash(dataset, tmp_path)
    getattr(dataset, table).at[0, column] = value
    assert content_hash(dataset, tmp_path) != before


def test_content_hash_changes_with_polygons_and_fewer_images(tmp_path: Path) -> None:
    dataset = tables(tmp_path / "raw", boxed=True)
    before = content_hash(dataset, tmp_path)
    assert content_hash(Tables(dataset.images[:-1], dataset.objects, dataset.classes), tmp_path) != before
    dataset.objects.at[0, "polygons"] = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert content_hash(dataset, tmp_path) != before


def test_a_dataset_without_objects_or_with_both_kinds_is_refused(tmp_path: Path) -> None:
    dataset = tables(tmp_path / "raw", boxed=True)
    nothing = Dataset(Tables(dataset.images, dataset.objects[:0], dataset.classes), tmp_path, Path("dataset"), tuple(NAMES))
    with pytest.raises(SightlineError, match="dataset: no object, expected boxes or whole-image labels"):
        statistics.task_of(nothing)
    dataset.objects.loc[0, BOX] = np.nan
    with pytest.raises(SightlineError, match="39 objects with a box and 1 whole-image labels, expected one kind"):
        statistics.task_of(Dataset(dataset, tmp_path, Path("dataset"), tuple(NAMES)))


def test_samples_of_a_sheet_show_every_class(tmp_path: Path) -> None:
    tables(tmp_path / "raw", boxed=False).write(tmp_path / "dataset")
    samples = Dataset.read(tmp_path / "raw", tmp_path / "dataset").samples("train")
    chosen = choose(samples, 3, 6)
    assert sorted(int(sample.labels[0]) for sample in chosen) == [0, 0, 1, 1, 2, 2]
    assert len(choose(samples, 3, 100)) == len(samples)
    assert len(choose(samples, 3, 2)) == 2


def test_a_full_sheet_asks_for_no_more_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path / "raw", boxed=False).write(tmp_path / "dataset")
    samples = Dataset.read(tmp_path / "raw", tmp_path / "dataset").samples("train")
    asked: list[int] = []

    def counted(rest: list[Sample], count: int) -> list[Sample]:
        asked.append(count)
        return draw(rest, count)

    monkeypatch.setattr("tasks.contact_sheet.draw", counted)
    assert len(choose(samples, 1000, 2)) == 2
    assert asked == [1, 1, 0]


def test_a_sheet_shows_polygons_and_masks_of_objects(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.new("RGB", SIZE, (128, 128, 128)).save(raw / "a.png")
    builder = TableBuilder()
    image_id = builder.add_image(scan_file(raw, "a.png", max_pixels=10**6, decode=False), "train")
    triangle = [[2.0, 2.0, 30.0, 2.0, 2.0, 46.0]]
    circle = np.hypot(*(np.indices(SIZE[::-1]) - np.array([24, 48])[:, None, None])) < 12
    builder.add_object(image_id, "car", (2.0, 2.0, 30.0, 46.0), "", polygons=triangle)
    builder.add_object(image_id, "van", (36.0, 12.0, 60.0, 36.0), "", rle=encode_rle(circle))
    builder.tables().read().write(tmp_path / "dataset")
    dataset = Dataset.read(raw, tmp_path / "dataset")
    contact_sheet(dataset.samples("train"), dataset.tables.objects, dataset.classes, tmp_path / "sheet.png")
    scale = BOXED[2] / SIZE[0]
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.asarray(opened.convert("RGB")).astype(int)

    def tone(x: float, y: float) -> list[int]:
        """The mean colour around a place of the image: red, green, blue, less grey."""
        across, down = GAP + round(x * scale), GAP + round(y * scale)
        mean = sheet[down - 3 : down + 4, across - 3 : across + 4].mean(axis=(0, 1)) - 128
        return [int(np.sign(round(value / 30))) for value in mean]

    assert tone(8, 12) == [-1, 0, 1]  # blue in the triangle
    assert tone(26, 40) == [0, 0, 0]
    assert tone(48, 24) == [1, 0, -1]  # orange in the circle
    assert tone(38.5, 33.5) == [0, 0, 0]


def test_plots_of_many_classes_and_boxes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    names = [f"class {index}" for index in range(130)]
    counts = pd.DataFrame(generator.integers(0, 50, (130, 3)), index=names, columns=["train", "val", "test"])
    plots.class_distribution(counts, tmp_path / "classes.png")
    sides = generator.uniform(1, 300, (20_000, 2))
    sizes = pd.DataFrame({"label": generator.integers(0, 130, 20_000), "width": sides[:, 0], "height": sides[:, 1]})
    plots.box_sizes(sizes, names, tmp_path / "sizes.png")
    for name in ("classes.png", "sizes.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
            assert max(image.size) < 5000


def test_masks_are_described_and_shown(tmp_path: Path) -> None:
    from test_transform import run as run_transform

    root = masks(tmp_path / "data")
    run_transform(root, tmp_path)
    metrics = fingerprint(Paths(root, tmp_path / "dataset", tmp_path / "out"), Config())
    assert metrics == {"images": 30, "objects": 0, "classes": 3}
    assert metadata_of(tmp_path / "out")["task"] == "semantic"
    page = (tmp_path / "out/fingerprint.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
    assert "<script" not in page
