from pathlib import Path

import pytest
from graphs import jpeg

from sightline.errors import SightlineError
from sightline.predictor import Predictor, read_manifest


def test_boxes_are_in_pixels_of_the_sent_image(detector: Path) -> None:
    result = Predictor(detector)(jpeg((255, 0, 0), (64, 32), "PNG"))
    assert (result["width"], result["height"]) == (64, 32)
    # The image fills the upper half of the input, so the mean red is that of red over the letterbox's grey.
    assert result["detections"] == [
        {"box": [0.0, 0.0, 32.0, 16.0], "label": 0, "name": "red", "score": pytest.approx((255 + 114) / 510, abs=1e-6)}
    ]


def test_conf_defaults_to_the_models_own(detector: Path) -> None:
    predictor, image = Predictor(detector), jpeg((128, 128, 128))
    assert len(predictor(image)["detections"]) == len(predictor(image, 0.25)["detections"]) == 3
    assert predictor(image, 0.9)["detections"] == []


def test_candidates_agree(detector: Path) -> None:
    image = jpeg((250, 120, 10), (50, 90))
    first, second = (Predictor(detector, candidate)(image) for candidate in ("onnxruntime-cpu-fp32", "openvino-cpu-fp32"))
    assert first == second


def test_classifies(classifier: Path) -> None:
    result = Predictor(classifier)(jpeg((0, 255, 51), kind="PNG"))
    assert [entry["name"] for entry in result["classes"]] == ["green", "blue", "red"]


def test_times_its_parts(classifier: Path) -> None:
    _, timings = Predictor(classifier).timed(jpeg((0, 0, 0)))
    assert all(value > 0 for value in vars(timings).values())


def test_a_folder_without_a_manifest_needs_a_candidate(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"manifest\.json: not there: expected a folder written by `package`"):
        Predictor(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"candidate": 3}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SightlineError, match="package the model again"):
        read_manifest(tmp_path)
