"""Masks of objects, against pycocotools, PyTorch's sampling and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.masks import THRESHOLD, encode, paste
from tasks.masks import decode_rle, encode_rle


@given(st.data())
def test_the_code_is_pycocotools_own(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left, width)), data.draw(st.integers(top, height))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    whole = np.zeros((height, width), np.bool_)
    part = rng.random((bottom - top, right - left)) < data.draw(st.sampled_from([0.1, 0.5, 0.9, 1.0]))
    whole[top:bottom, left:right] = part
    code = encode(part, left, top, width, height)
    np.testing.assert_array_equal(decode_rle(code, (width, height)), whole)
    assert code == encode_rle(whole)


def test_a_full_mask_covers_the_pixels_whose_centres_lie_in_the_box() -> None:
    full = np.full((28, 28), 255, np.uint8)
    part, left, top = paste(full, np.array([2.4, 1.6, 6.4, 5.6], np.float32), 20, 20)
    whole = np.zeros((20, 20), bool)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    expected = np.zeros((20, 20), bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("box", [[-30, -30, -5, -5], [5, 5, 5, 9], [30, 5, 40, 9]])
def test_a_box_that_shows_no_pixel_has_an_empty_mask(box: list[float]) -> None:
    part, left, top = paste(np.full((4, 4), 255, np.uint8), np.array(box, np.float32), 20, 10)
    assert decode_rle(encode(part, left, top, 20, 10), (20, 10)).sum() == 0


def test_half_of_a_mask_is_half_of_its_box_even_where_the_image_ends() -> None:
    half = np.zeros((28, 28), np.uint8)
    half[:, 14:] = 255
    part, left, top = paste(half, np.array([-10, 0, 10, 8], np.float32), 20, 8)
    assert (left, top) == (0, 0)
    np.testing.assert_array_equal(part, np.ones((8, 10), bool))


def test_masks_are_pasted_as_detectron2_samples_them() -> None:
    mask = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    box = np.array([20.3, 11.7, 99.2, 70.1], np.float32)
    part, left, top = paste(mask, box, 120, 90)
    x = (np.arange(left, left + part.shape[1]) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (np.arange(top, top + part.shape[0]) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1)[None].astype(np.float32))
    values = torch.nn.functional.grid_sample(torch.from_numpy(mask.astype(np.float32))[None, None], grid, align_corners=False)
    np.testing.assert_array_equal(part, values[0, 0].numpy() > THRESHOLD)
