"""Three ways of overriding, one meaning."""

from pathlib import Path

import pytest
from small_project import dvc, shell

from flows import compose
from sightline.errors import SightlineError

OVERRIDES = ["tracking=none", "model=resnet18", "train.epochs=2", "experiment=smoke"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
def test_three_ways_give_the_same_params(tiny: Path) -> None:
    from flows.pipeline import as_overrides

    written = []
    done = dvc("exp", "run", "config", *[part for override in OVERRIDES for part in ("-S", override)])
    assert done.returncode == 0, done.stderr
    written.append((tiny / "params.yaml").read_bytes())

    done = shell("sightline", "compose", *OVERRIDES)
    assert done.returncode == 0, done.stderr
    written.append((tiny / "params.yaml").read_bytes())

    form = {"dataset": "traffic", "model": "resnet18", "constraints": "default", "experiment": "smoke"}
    compose.write_params(as_overrides(form, ["tracking=none", "train.epochs=2"]))
    written.append((tiny / "params.yaml").read_bytes())
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=yolov8", "model: got yolov8, did you mean yolov8n?"),
        ("experiment=smok", "experiment: got smok, did you mean smoke?"),
        ("train.epcohs=3", "train.epcohs: unknown key, did you mean train.epochs?"),
        ("modle=resnet18", "modle: unknown key, did you mean model?"),
        ("model=null", "model: got null, expected one of deeplabv3_mobilenet_v3_large"),
        ("experiment=null", "experiment: got null, "),
        ("dataset=zip", "set dataset.path="),
        ("train.epochs=abc", "train.epochs: got 'abc'"),
        ("+train.new=1", "train.new: unknown key"),
    ],
)
def test_a_wrong_override_names_the_nearest(tiny: Path, override: str, message: str) -> None:
    with pytest.raises(SightlineError, match=message.replace("?", r"\?")):
        compose.write_params([override])


@pytest.mark.parametrize("overrides", [[], ["train.epochs=2"]])
@pytest.mark.parametrize("text", ["train: [1, 2\n", "train: 1\n  epochs: 2\n"])
def test_a_file_that_is_no_yaml_is_named(tiny: Path, text: str, overrides: list[str]) -> None:
    (tiny / "conf/model/yolov8n.yaml").write_text(text)
    with pytest.raises(SightlineError, match=r"^conf/ with .*model/yolov8n"):
        compose.compose_params(overrides)
