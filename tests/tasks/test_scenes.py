"""The scenes: their difficulty, which was fixed before any training, their ground truth, and that each stands alone."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import cv2
import numpy as np
import pytest

from tasks.scenes import CLASSES, SEMANTIC, Scene, SceneObject, draw_scene

COUNT = 240


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(draw_scene, 0), range(COUNT), chunksize=10))


@pytest.fixture(scope="module")
def objects(scenes: list[Scene]) -> list[SceneObject]:
    return [item for scene in scenes for item in scene.objects]


def sides(item: SceneObject) -> tuple[int, int]:
    xmin, ymin, xmax, ymax = item.box
    return max(xmax - xmin, ymax - ymin), min(xmax - xmin, ymax - ymin)


# Difficulty. These figures are a decision: whoever trains takes them as they are.


def test_sizes(objects: list[SceneObject]) -> None:
    longer, shorter = zip(*(sides(item) for item in objects if not item.difficult), strict=True)
    assert np.quantile(longer, [0.1, 0.5, 0.9]) == pytest.approx([20, 50, 117], rel=0.15)
    assert np.quantile(shorter, [0.1, 0.5, 0.9]) == pytest.approx([15, 31, 64], rel=0.15)
    assert min(longer) >= 12


def test_occlusion(objects: list[SceneObject]) -> None:
    visible = [item.visible for item in objects]
    assert np.mean(np.less(visible, 0.8)) == pytest.approx(0.2, abs=0.05)
    assert np.quantile(visible, 0.1) == pytest.approx(0.57, abs=0.1)
    assert 0.002 < np.mean([item.difficult for item in objects]) < 0.03
    assert np.mean([item.truncated for item in objects]) == pytest.approx(0.17, abs=0.05)


def test_objects_of_a_scene_and_clutter(scenes: list[Scene]) -> None:
    counts = [len(scene.objects) for scene in scenes]
    assert np.mean(counts) == pytest.approx(4.3, abs=0.5)
    assert np.quantile(counts, [0.05, 0.95]) == pytest.approx([2, 8], abs=1)
    assert np.quantile([scene.clutter for scene in scenes], [0.5, 0.9]) == pytest.approx([0.04, 0.14], rel=0.5)


def test_every_class_is_frequent_and_of_every_size(objects: list[SceneObject]) -> None:
    for name in CLASSES:
        longer = [sides(item)[0] for item in objects if item.label == name and not item.difficult]
        assert len(longer) > 0.1 * len(objects)
        low, high = np.quantile(longer, [0.1, 0.9])
        assert low < 26
        assert high > 60


def test_light_varies(scenes: list[Scene]) -> None:
    brightness = [scene.image.mean() for scene in scenes]
    assert np.quantile(brightness, 0.05) < 70
    assert np.quantile(brightness, 0.95) > 125


# Ground truth


def test_a_box_is_tight_around_its_instance(scenes: list[Scene]) -> None:
    for scene in scenes:
        for number, item in enumerate(scene.objects, 1):
            rows, columns = np.nonzero(scene.instances == number)
            xmin, ymin, xmax, ymax = item.box
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (xmin, ymin, xmax, ymax)
        assert scene.instances.max() == len(scene.objects)


def test_polygons_outline_their_instance(scenes: list[Scene]) -> None:
    overlaps = []
    for scene in scenes[:60]:
        for number, item in enumerate(scene.objects, 1):
            drawn = np.zeros_like(scene.instances)
            outlines = [np.round((np.reshape(polygon, (-1, 2)) - 0.5) * 16).astype(np.int32) for polygon in item.polygons]
            cv2.fillPoly(drawn, outlines, 1, cv2.LINE_8, 4)
            ends = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in item.polygons])
            assert np.abs([*ends.min(axis=0), *ends.max(axis=0)] - np.array(item.box)).max() <= 1, "a speck has one, too"
            mask = scene.instances == number
            overlaps.append(np.sum(mask & (drawn > 0)) / np.sum(mask | (drawn > 0)))
    assert np.mean(overlaps) > 0.95
    assert np.quantile(overlaps, 0.05) > 0.8


def test_semantic_and_instances_agree(scenes: list[Scene]) -> None:
    agreed = total = 0
    for scene in scenes[:60]:
        assert scene.semantic.max() < len(SEMANTIC)
        for number, item in enumerate(scene.objects, 1):
            inside = scene.semantic[scene.instances == number]
            agreed += int(np.sum(inside == SEMANTIC.index(item.label)))
            total += inside.size
    assert agreed / total > 0.97


def test_all_of_the_scenery_occurs(scenes: list[Scene]) -> None:
    seen = {int(value) for scene in scenes for value in np.unique(scene.semantic)}
    assert seen == set(range(len(SEMANTIC)))


def test_every_scene_has_an_object_to_count_on(scenes: list[Scene]) -> None:
    assert all(any(not item.difficult for item in scene.objects) for scene in scenes)


# Each scene stands alone


def same(a: Scene, b: Scene) -> bool:
    pixels = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "semantic", "instances"))
    return pixels and a.objects == b.objects


def test_a_scene_depends_on_seed_and_index_alone(scenes: list[Scene]) -> None:
    for index in (17, 3, 3):
        assert same(draw_scene(0, index), scenes[index])
    assert not same(draw_scene(1, 3), scenes[3])
    assert not same(scenes[3], scenes[4])


@pytest.mark.parametrize(("width", "height"), [(640, 480), (128, 96), (96, 200), (65, 64)])
def test_any_size(width: int, height: int) -> None:
    scene = draw_scene(0, 5, width, height)
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.semantic.shape == scene.instances.shape == (height, width)
    for item in scene.objects:
        xmin, ymin, xmax, ymax = item.box
        assert 0 <= xmin < xmax <= width
        assert 0 <= ymin < ymax <= height
