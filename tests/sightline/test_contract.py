import json
from pathlib import Path

import pytest
from graphs import write_model

from sightline.contract import MODEL_FILE, ModelDescription, dump_json
from sightline.errors import SightlineError


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    description = write_model(tmp_path, "detect")
    assert ModelDescription.read(tmp_path) == description


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "guess"}, "task 'guess', expected one of classify, multilabel, detect"),
        ({"colour": "red"}, "colour"),
        ({"input": {"height": 1}}, "fill"),
    ],
)
def test_what_is_no_description_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_model(tmp_path, "detect")
    path = tmp_path / MODEL_FILE
    path.write_text(dump_json({**json.loads(path.read_text()), **change}))
    with pytest.raises(SightlineError, match=message):
        ModelDescription.read(tmp_path)


def test_a_missing_description_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"model\.json: not there: expected a model folder"):
        ModelDescription.read(tmp_path)


def test_nan_is_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"mAP50": float("nan")})
