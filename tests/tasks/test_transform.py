import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import annotation, class_folders, mask, masks, picture, stripes, voc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_validate import run as run_validate

from sightline.errors import SightlineError
from tasks import pixels as pixels_module
from tasks import splits, stage, transform
from tasks.masks import decode_rle, encode_rle
from tasks.provenance import read_provenance
from tasks.schema import Transform, parse
from tasks.tables import Dataset, Tables

ROOT = Path(__file__).parents[2]


def run(root: Path, out: Path, **values: object) -> stage.Metrics:
    run_validate(root, out)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    data = {"transform": params["transform"] | values}
    return transform.transform(transform.Paths(root, out / "tables", out / "dataset"), parse(transform.Config, data)) or {}


def test_the_dataset_s_own_splits_are_kept(tmp_path: Path) -> None:
    metrics = run(voc(tmp_path / "data"), tmp_path)
    assert metrics == {"images_train": 20, "images_val": 5, "images_test": 5, "classes_not_in_train": 0}


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
    root = voc(tmp_path / "data")
    annotation(root / "Annotations/005.xml", [("cat", 40, 1, 66, 50)])
    run(root, tmp_path)
    sample = next(item for item in Dataset.read(root, tmp_path / "dataset").samples("train") if item.image_id.endswith("005"))
    assert sample.boxes.tolist() == [[39, 0, 64, 48]]


def frame(hashes: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image_id": [f"i{index}" for index in range(len(hashes))], "split": "", "hash": hashes, "group": hashes}
    )


SETTINGS = Transform(splits="auto", val=0.2, test=0.2, seed=0, keep_together=True, keep=None, keep_sha256=None, max_side=None)
NO_OBJECTS = pd.DataFrame({"image_id": [], "label": []})


def assign(images: pd.DataFrame, config: Transform, objects: pd.DataFrame = NO_OBJECTS) -> pd.Series:
    return splits.stratify(splits.place(images, config), images, objects)


def test_added_images_move_no_other_and_duplicates_stay_together() -> None:
    few = assign(frame([f"h{index % 300}" for index in range(400)]), SETTINGS)
    many = assign(frame([f"h{index % 300}" for index in range(1000)]), SETTINGS)
    assert few.tolist() == many.tolist()[:400]
    assert (many.groupby([f"h{index % 300}" for index in range(1000)]).nunique() == 1).all()
    shares = assign(frame([f"h{index}" for index in range(5000)]), SETTINGS).value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.2, abs=0.02)
    assert shares["test"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_added_near_duplicate_moves_its_group_only_where_it_leads_it(size: int) -> None:
    config = SETTINGS.model_copy(update={"val": 0.1, "test": 0.1})
    rng, groups = np.random.default_rng(size), 6000
    hashes = rng.integers(0, 1 << 62, (groups, size + 1))
    before = [f"{value:016x}" for value in hashes[:, :size].min(axis=1)]
    after = [f"{value:016x}" for value in hashes.min(axis=1)]
    few, many = (assign(frame(names), config).to_numpy() for names in (before, after))
    is_led = np.array(before) != np.array(after)
    assert (few[~is_led] == many[~is_led]).all()
    assert (few != many).mean() == pytest.approx(0.34 / (size + 1), abs=0.02)
    assert (many == "test").mean() == pytest.approx(0.1, abs=0.02)


def kept_file(images: pd.DataFrame, split: pd.Series, path: Path) -> Transform:
    """Writes `splits.json`, and the settings that keep it."""
    names = {name: list(images.loc[split == name, "image_id"]) for name in ("train", "val", "test")}
    path.write_text(json.dumps({"origins": {}, "seed": 0, "splits": names}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return SETTINGS.model_copy(update={"keep": str(path), "keep_sha256": digest})


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), other_seed=st.integers(0, 10), added=st.integers(1, 60))
def test_what_an_earlier_run_placed_stays_whatever_is_added(seed: int, other_seed: int, added: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    images = frame([f"{value:016x}" for value in rng.integers(0, 1 << 62, 40 + added)])
    classes = {"often": list(images["hash"][::2]), "rare": list(images["hash"][:added:3])}
    objects = labelled(list(images["hash"]), classes)[1]
    first = images[:40]
    split = assign(first, SETTINGS.model_copy(update={"seed": seed}), objects)
    config = kept_file(first, split, tmp_path / "kept.json").model_copy(update={"seed": other_seed})
    for place in range(40, 40 + added, 2):  # every other one is near to an earlier image, and may lead its group
        group = images["group"][rng.integers(0, 40)]
        images.loc[images["group"].isin([group, images["hash"][place]]), "group"] = min(group, images["hash"][place])
    found = assign(images, config, objects)
    assert found[:40].tolist() == split.tolist()
    assert (found.groupby(images["group"]).nunique() == 1).all()


def test_kept_groups_that_an_image_joins_go_where_the_first_of_test_val_train_is(tmp_path: Path) -> None:
    images = frame([f"h{index}" for index in range(60)])
    split = assign(images, SETTINGS)
    config = kept_file(images, split, tmp_path / "kept.json")
    one, other = split.index[split == "train"][0], split.index[split == "val"][0]
    images.loc[[one, other], "group"] = "joined"
    found = assign(images, config)
    assert found[one] == found[other] == "val"
    assert (found == split).sum() == 59


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "expected a splits.json"),
        ("[]", "expected a splits.json"),
        ('{"splits": {"training": ["i0"]}}', "expected a splits.json"),
        ('{"splits": {"train": ["i0"], "val": ["i0"]}}', "i0 in train and val: delete one of them"),
        ('{"splits": {"train": ["x0"]}}', "none of this dataset's images"),
        ('{"splits":' * 100_000, "expected a splits.json"),
    ],
)
def test_a_file_of_kept_splits_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    config = SETTINGS.model_copy(update={"keep": str(path), "keep_sha256": digest})
    with pytest.raises(SightlineError, match=message):
        assign(frame(["a", "b"]), config)
    with pytest.raises(SightlineError, match="restore the file"):
        assign(frame(["a", "b"]), config.model_copy(update={"keep_sha256": "0" * 64}))
    with pytest.raises(SightlineError, match="not there"):
        assign(frame(["a", "b"]), config.model_copy(update={"keep": str(tmp_path / "nowhere")}))


def test_kept_splits_need_a_checksum_and_a_place_that_no_run_removes() -> None:
    values = SETTINGS.model_dump()
    with pytest.raises(SightlineError, match=r"set transform\.keep_sha256"):
        parse(transform.Config, {"transform": values | {"keep": "splits.json"}})
    with pytest.raises(SightlineError, match="copy it elsewhere"):
        parse(transform.Config, {"transform": values | {"keep": "./data/dataset/splits.json", "keep_sha256": "0" * 64}})


def test_a_second_run_keeps_the_splits_of_the_first(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", 60)
    run(root, tmp_path)
    kept = tmp_path / "splits.json"
    kept.write_bytes((tmp_path / "dataset/splits.json").read_bytes())
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    picture(root / "cat/new.jpg", 5000)
    run(root, tmp_path, seed=1, keep=str(kept), keep_sha256=digest)
    before, after = (json.loads(path.read_text()) for path in (kept, tmp_path / "dataset/splits.json"))
    assert (before["kept"], after["kept"]) == (None, digest)
    assert all(set(before["splits"][name]) == set(after["splits"][name]) - {"cat/new"} for name in before["splits"])
    run(root, tmp_path, seed=1)
    assert json.loads((tmp_path / "dataset/splits.json").read_text())["splits"] != after["splits"]


def test_another_seed_gives_other_splits() -> None:
    hashes = [f"h{index}" for index in range(300)]
    other = SETTINGS.model_copy(update={"seed": 1})
    assert assign(frame(hashes), SETTINGS).tolist() != assign(frame(hashes), other).tolist()


def test_an_own_train_and_val_get_a_test_from_train() -> None:
    images = frame([f"h{index}" for index in range(300)])
    images["split"] = ["train"] * 200 + ["val"] * 100
    assigned = assign(images, SETTINGS)
    assert (assigned[200:] == "val").all()
    assert set(assigned[:200]) == {"train", "test"}


@pytest.mark.parametrize("named", [("test",), ("val",), ("val", "test")])
def test_what_a_dataset_without_train_tests_on_is_not_trained_on(named: tuple[str, ...]) -> None:
    images = frame([f"h{index}" for index in range(300)])
    images["split"] = [*(named[index % len(named)] for index in range(100)), *[""] * 200]
    images.loc[[0, 299], "group"] = "near"
    placement = splits.place(images, SETTINGS)
    assigned = splits.stratify(placement, images, NO_OBJECTS)
    assert assigned[:100].tolist() == images["split"][:100].tolist()
    assert set(assigned[100:299]) == {"train", "val", "test"} - set(named)
    assert assigned[299] == assigned[0] == named[0]
    assert {name for name, origin in placement.origins.items() if origin == "source"} == set(named)
    with pytest.raises(SightlineError, match=r"all 100 images are in .*, expected some in train or in no split: .*splits=hash"):
        splits.place(images[:100], SETTINGS)


@pytest.mark.parametrize("kind", ["auto", "source", "hash"])
@pytest.mark.parametrize(("groups", "which"), [(1, "one group"), (2, "2 groups")])
def test_images_that_all_stay_together_cannot_be_split(kind: str, groups: int, which: str) -> None:
    images = frame([f"h{index}" for index in range(50)])
    images["split"] = ["train"] * 30 + ["val"] * 10 + ["test"] * 10
    images["group"] = [f"h{index % groups}" for index in range(50)]
    message = rf"got no image, as all 50 are {which} of near duplicates, .*: set transform\.keep_together=false"
    with pytest.raises(SightlineError, match=message):
        assign(images, SETTINGS.model_copy(update={"splits": kind}))


def test_near_duplicates_may_stay_where_the_dataset_has_them(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    run_validate(root, tmp_path)
    tables = Tables.read(tmp_path / "tables")
    replace(tables, images=tables.images.assign(group=tables.images["hash"].min())).write(tmp_path / "tables")
    paths = transform.Paths(root, tmp_path / "tables", tmp_path / "dataset")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["transform"]
    with pytest.raises(SightlineError, match="all 30 are one group of near duplicates"):
        transform.transform(paths, parse(transform.Config, {"transform": values}))
    values["keep_together"] = False
    metrics = transform.transform(paths, parse(transform.Config, {"transform": values}))
    assert metrics == {"images_train": 20, "images_val": 5, "images_test": 5, "classes_not_in_train": 0}
    assert Tables.read(tmp_path / "dataset").images["group"].nunique() == 1, "who draws from a split later knows them"
    metrics = transform.transform(paths, parse(transform.Config, {"transform": values | {"splits": "hash"}}))
    assert metrics
    assert metrics["images_train"] > metrics["images_val"] > 0


def test_splits_that_are_asked_for_and_not_there() -> None:
    with pytest.raises(SightlineError, match=r"set transform\.splits=hash"):
        assign(frame(["a", "b"]), SETTINGS.model_copy(update={"splits": "source"}))
    with pytest.raises(SightlineError, match="got no image of 2"):
        assign(frame(["a", "b"]), SETTINGS)


def test_copies_of_an_image_go_where_the_first_of_test_val_train_is() -> None:
    images = frame(["a", "a", "b", "b", "c", "d", "e"])
    images["split"] = ["train", "test", "val", "train", "train", "val", "test"]
    assigned = assign(images, SETTINGS)
    assert assigned.tolist() == ["test", "test", "val", "val", "train", "val", "test"]


def test_what_differs_from_the_source_is_listed(tmp_path: Path) -> None:
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
    persisted = json.loads((tmp_path / "dataset/splits.json").read_text())
    assert persisted["origins"] == {"train": "source", "val": "source", "test": "source"}
    assert persisted["seed"] == 0
    named = persisted["splits"]
    assert {name: len(ids) for name, ids in named.items()} == {"train": 20, "val": 5, "test": 5}
    assert read_provenance(tmp_path / "dataset") == {"name": "traffic", "source": "generated", "format": "voc"}


def labelled(groups: list[str], classes: dict[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images, one a group, and the objects of each class by the groups that have it."""
    images = frame(groups)
    ids = dict(zip(images["group"], images["image_id"], strict=True))
    rows = [(ids[group], label) for label, (_, members) in enumerate(sorted(classes.items())) for group in members]
    return images, pd.DataFrame(rows, columns=["image_id", "label"])


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=5),
    shared=st.integers(0, 10),
    seed=st.integers(0, 10_000),
)
def test_every_class_is_in_every_split(counts: list[int], shared: int, seed: int) -> None:
    groups = [f"g{index}" for index in range(sum(counts) + shared)]
    starts = np.cumsum([0, *counts])
    classes = {
        f"c{label}": [*groups[start:end], *groups[sum(counts) :]]
        for label, (start, end) in enumerate(itertools.pairwise(starts))
    }
    images, objects = labelled(groups, classes)
    split = assign(images, SETTINGS.model_copy(update={"seed": seed}), objects)
    labels = objects.merge(images.assign(split=split), on="image_id").groupby("label")["split"].nunique()
    assert (labels == 3).all()


def test_a_rare_class_moves_nothing_else() -> None:
    groups = [f"g{index}" for index in range(2000)]
    images, objects = labelled(groups, {"often": groups, "rare": groups[:3]})
    alone = assign(images, SETTINGS)
    split = assign(images, SETTINGS, objects)
    assert (split != alone).sum() <= 2
    assert set(split[:3]) == {"train", "val", "test"}


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_few_groups_is_in_train(seed: int) -> None:
    groups = [f"g{index}" for index in range(100)]
    images, objects = labelled(groups, {"often": groups, "one": groups[:1], "two": groups[1:3]})
    split = assign(images, SETTINGS.model_copy(update={"seed": seed}), objects)
    assert split[0] == "train"
    assert "train" in set(split[1:3])


@pytest.mark.parametrize("seed", range(40))
def test_a_small_dataset_has_an_image_in_each_split(seed: int) -> None:
    images, objects = labelled(["g0", "g1", "g2", "g3"], {"one": ["g0"], "two": ["g1", "g2"]})
    split = assign(images, SETTINGS.model_copy(update={"seed": seed}), objects)
    assert set(split) == {"train", "val", "test"}
    assert split[0] == "train"
    assert "train" in set(split[1:3])


def test_classes_of_masks_are_in_every_split_and_one_that_train_lacks_is_told(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    for path in root.glob("masks/*/*.png"):
        mask(path, stripes((0, 1, 1 if int(path.stem) % 8 else 2)))  # 4 of 30 masks show trees
    for seed in range(3):
        metrics = run(root, tmp_path, splits="hash", seed=seed)
        assert metrics["classes_not_in_train"] == 0
        dataset = Dataset.read(root, tmp_path / "dataset")
        for split in ("train", "val", "test"):
            found = [np.unique(np.asarray(Image.open(sample.mask))) for sample in dataset.samples(split) if sample.mask]
            assert set(np.concatenate(found)) == {0, 1, 2}
    named = {name: list(ids) for name, ids in json.loads((tmp_path / "dataset/splits.json").read_text())["splits"].items()}
    trees = [name for ids in named.values() for name in ids if int(name[-3:]) % 8 == 0]
    named = {name: [each for each in ids if each not in trees] for name, ids in named.items()}
    (tmp_path / "kept.json").write_text(json.dumps({"splits": {**named, "test": [*named["test"], *trees]}}))
    digest = hashlib.sha256((tmp_path / "kept.json").read_bytes()).hexdigest()
    metrics = run(root, tmp_path, splits="hash", keep=str(tmp_path / "kept.json"), keep_sha256=digest)
    assert metrics["classes_not_in_train"] == 1
    fixes = json.loads((tmp_path / "dataset/fixes.json").read_text())
    assert [fix["what"] for fix in fixes if fix["fix"] == "not in train"] == ["class tree: no image of train shows it"]


def test_near_duplicates_stay_together_and_are_placed_once() -> None:
    images = frame([f"h{index}" for index in range(300)])
    images["group"] = [f"h{index // 3}" for index in range(300)]
    split = assign(images, SETTINGS)
    assert (split.groupby(images["group"]).nunique() == 1).all()


def test_large_images_are_made_smaller_with_their_boxes(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    picture(root / "JPEGImages/005.jpg", 5, (128, 96))
    annotation(root / "Annotations/005.xml", [("cat", 41, 21, 80, 60)], (128, 96))
    before = stage.hash_path(root)
    run(root, tmp_path, max_side=64)
    sample = next(item for item in Dataset.read(root, tmp_path / "dataset").samples("train") if item.image_id.endswith("005"))
    assert (sample.width, sample.height) == (64, 48)
    assert sample.boxes.tolist() == [[20, 10, 40, 30]]
    assert sample.path == tmp_path / "dataset/images/JPEGImages/005.jpg"
    with Image.open(sample.path) as image:
        assert image.size == (64, 48)
    fixes = json.loads((tmp_path / "dataset/fixes.json").read_text())
    assert [(fix["fix"], fix["what"]) for fix in fixes] == [("smaller", "128x96 to 64x48")]
    assert stage.hash_path(root) == before
    assert len(list((tmp_path / "dataset/images").rglob("*.*"))) == 1, "pixels were copied that did not change"


def test_polygons_and_masks_follow_the_size() -> None:
    pixels = np.zeros((48, 64), np.bool_)
    pixels[8:16, 16:32] = True
    rle = encode_rle(pixels)
    sizes = {"image_id": ["a", "b"], "width": [64, 64], "height": [48, 48]}
    before, after = pd.DataFrame(sizes), pd.DataFrame({**sizes, "width": [32, 64], "height": [24, 48]})
    box = {"xmin": 16.0, "ymin": 8.0, "xmax": 32.0, "ymax": 16.0}
    objects = pd.DataFrame([{"image_id": name, **box, "polygons": [[16.0, 8, 32, 8, 32, 16]], "rle": rle} for name in "ab"])
    scaled = pixels_module.scale_objects(objects, before, after).set_index("image_id")
    assert scaled.loc["a", list(box)].tolist() == [8, 4, 16, 8]
    assert [list(each) for each in scaled.loc["a", "polygons"]] == [[8, 4, 16, 4, 16, 8]]
    small = decode_rle(scaled.loc["a", "rle"], (32, 24))
    assert small.sum() == 8 * 4
    assert small[4:8, 8:16].all()
    assert scaled.loc["b", list(box)].tolist() == list(box.values())
    assert scaled.loc["b", "rle"] == rle


def test_masks_become_class_ids_of_the_image_s_size(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    run(root, tmp_path, max_side=32)
    dataset = Dataset.read(root, tmp_path / "dataset")
    assert dataset.classes == ("road", "car", "tree")
    for sample in dataset.samples("train"):
        assert sample.mask is not None
        with Image.open(sample.mask) as found, Image.open(sample.path) as image:
            assert (found.size, image.size, found.mode) == ((32, 24), (32, 24), "L")
            assert set(np.unique(np.asarray(found))) <= {0, 1, 2, 255}


def test_two_objects_of_one_box_and_two_outlines_are_two_and_are_clipped() -> None:
    images = pd.DataFrame({"image_id": ["a"], "width": [64], "height": [48]})
    row = {"image_id": "a", "label": 0, "xmin": 4.0, "ymin": 4.0, "xmax": 66.0, "ymax": 20.0, "rle": None, "iscrowd": False}
    outlines = [[[4.0, 4, 66, 4, 66, 20]], [[4.0, 4, 66, 20, 4, 20]], [[4.0, 4, 66, 4, 66, 20]]]
    objects = pd.DataFrame([row | {"polygons": polygons, "file": "a.xml", "line": 1} for polygons in outlines])
    fixes: list[dict[str, str]] = []
    clipped = transform.clip(objects, images, fixes)
    assert sorted(fix["fix"] for fix in fixes) == ["clipped", "clipped", "repeated"]
    assert [list(polygons[0]) for polygons in clipped["polygons"]] == [[4, 4, 64, 4, 64, 20], [4, 4, 64, 20, 4, 20]]
