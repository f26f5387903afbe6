import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import class_folders, picture, voc
from PIL import Image
from test_validate import run as run_validate

from sightline.errors import SightlineError
from tasks import splits, stage, transform
from tasks.provenance import read_provenance
from tasks.schema import Transform, parse
from tasks.tables import Dataset

ROOT = Path(__file__).parents[2]


def run(root: Path, out: Path, **settings: object) -> stage.Metrics:
    run_validate(root, out)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    data = {"transform": params["transform"] | settings}
    return transform.transform(transform.Paths(root, out / "tables", out / "dataset"), parse(transform.Config, data)) or {}


def test_the_dataset_s_own_splits_are_kept(tmp_path: Path) -> None:
    assert run(voc(tmp_path / "data"), tmp_path) == {"images_train": 20, "images_val": 5, "images_test": 5}


def test_pixels_that_need_no_change_stay_in_raw(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    run(root, tmp_path)
    assert not (tmp_path / "dataset/images").exists()
    assert all(sample.path.parent.parent == root for sample in Dataset.read(root, tmp_path / "dataset").samples("train"))


def test_a_rotated_image_is_written_upright(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", 60)
    picture(root / "cat/000.jpg", 0, (64, 48), exif_orientation=6)
    run(root, tmp_path)
    images = pd.read_parquet(tmp_path / "dataset/images.parquet").set_index("image_id")
    assert images.loc["cat/000", "store"] == "dataset"
    with Image.open(root / "cat/000.jpg") as raw, Image.open(tmp_path / "dataset" / images.loc["cat/000", "path"]) as upright:
        assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(raw.convert("RGB")), -1))


def test_boxes_are_clipped_to_the_image(tmp_path: Path) -> None:
    from datasets import annotation

    root = voc(tmp_path / "data")
    annotation(root / "Annotations/005.xml", [("cat", 40, 1, 66, 50)])
    run(root, tmp_path)
    sample = next(item for item in Dataset.read(root, tmp_path / "dataset").samples("train") if item.image_id.endswith("005"))
    assert sample.boxes.tolist() == [[39, 0, 64, 48]]


def frame(hashes: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image_id": [f"i{index}" for index in range(len(hashes))], "split": "", "hash": hashes})


SETTINGS = Transform(splits="auto", val=0.2, test=0.2, seed=0)


def test_added_images_move_no_other_and_duplicates_stay_together() -> None:
    few = splits.assign(frame([f"h{index % 300}" for index in range(400)]), SETTINGS)
    many = splits.assign(frame([f"h{index % 300}" for index in range(1000)]), SETTINGS)
    assert few.tolist() == many.tolist()[:400]
    assert (many.groupby([f"h{index % 300}" for index in range(1000)]).nunique() == 1).all()
    shares = splits.assign(frame([f"h{index}" for index in range(5000)]), SETTINGS).value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.2, abs=0.02)
    assert shares["test"] == pytest.approx(0.2, abs=0.02)


def test_another_seed_gives_other_splits() -> None:
    hashes = [f"h{index}" for index in range(300)]
    other = SETTINGS.model_copy(update={"seed": 1})
    assert splits.assign(frame(hashes), SETTINGS).tolist() != splits.assign(frame(hashes), other).tolist()


def test_an_own_train_and_val_get_a_test_from_train() -> None:
    images = frame([f"h{index}" for index in range(300)])
    images["split"] = ["train"] * 200 + ["val"] * 100
    assigned = splits.assign(images, SETTINGS)
    assert (assigned[200:] == "val").all()
    assert set(assigned[:200]) == {"train", "test"}


def test_splits_that_are_asked_for_and_not_there() -> None:
    with pytest.raises(SightlineError, match=r"set transform\.splits=hash"):
        splits.assign(frame(["a", "b"]), SETTINGS.model_copy(update={"splits": "source"}))
    with pytest.raises(SightlineError, match="got no image of 2"):
        splits.assign(frame(["a", "b"]), SETTINGS)


def test_copies_of_an_image_go_where_the_first_of_test_val_train_is() -> None:
    images = frame(["a", "a", "b", "b", "c", "d", "e"])
    images["split"] = ["train", "test", "val", "train", "train", "val", "test"]
    assigned = splits.assign(images, SETTINGS)
    assert assigned.tolist() == ["test", "test", "val", "val", "train", "val", "test"]


def test_what_differs_from_the_source_is_listed(tmp_path: Path) -> None:
    from datasets import annotation

    root = voc(tmp_path / "data")
    box = ("cat", 1, 1, 20, 20)
    annotation(root / "Annotations/005.xml", [("cat", 40, 1, 66, 50), box, box, ("dog", 5, 5, 9, 5)])
    before = stage.hash_path(root)
    run(root, tmp_path)
    fixes = json.loads((tmp_path / "dataset/fixes.json").read_text())
    assert [fix["fix"] for fix in fixes] == ["clipped", "repeated", "too small"]
    assert fixes[0]["what"] == "Annotations/005.xml:4: 39, 0, 66, 50"
    assert stage.hash_path(root) == before


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", 60)
    picture(root / "cat/000.jpg", 0, (64, 48), exif_orientation=6)
    run(root, tmp_path / "a")
    run(root, tmp_path / "b")
    assert stage.hash_path(tmp_path / "a") == stage.hash_path(tmp_path / "b")


def test_the_splits_and_the_origin_are_persisted(tmp_path: Path) -> None:
    run(voc(tmp_path / "data"), tmp_path)
    named = json.loads((tmp_path / "dataset/splits.json").read_text())
    assert {name: len(ids) for name, ids in named.items()} == {"train": 20, "val": 5, "test": 5}
    assert read_provenance(tmp_path / "dataset") == {"name": "traffic", "source": "generated", "format": "voc"}
