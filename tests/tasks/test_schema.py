"""The configuration: what belongs together, and the weights that training begins with."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml

from sightline.errors import SightlineError
from tasks import config_checks
from tasks.models import starting_weights
from tasks.schema import Dataset, Model, Params, parse, read_params

ROOT = Path(__file__).parents[2]


def model(**values: object) -> Model:
    return parse(Model, {**read_params(ROOT / "params.yaml")["model"], **values})


def test_pretrained_weights_are_those_of_the_checksum(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(2)}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    given = starting_weights(model(pretrained=str(weights), pretrained_sha256=digest), None)
    assert given is not None
    assert (given.where, list(given.state)) == (f"model.pretrained: {weights}", ["a"])
    with pytest.raises(SightlineError, match=f"got SHA-256 {digest}, expected 0000"):
        starting_weights(model(pretrained=str(weights), pretrained_sha256="0" * 64), None)
    with pytest.raises(SightlineError, match="not there"):
        starting_weights(model(pretrained=str(tmp_path / "x"), pretrained_sha256=digest), None)
    own = starting_weights(model(pretrained=str(weights), pretrained_sha256="0" * 64), weights)
    assert own is not None
    assert own.where == str(weights)
    assert starting_weights(model(), None) is None


def test_each_family_declares_what_it_takes() -> None:
    for name in sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml")):
        section = yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text(encoding="utf-8"))["model"]
        assert {"TASKS", "ARCHITECTURES", "OPTIMIZERS", "AUGMENT"} <= set(config_checks.declared(model(**section))), name


def test_a_final_fit_of_what_is_not_trained_is_refused() -> None:
    params = read_params(ROOT / "params.yaml")
    params["model"] |= {"weights": "mine.pt", "weights_sha256": "0" * 64}
    config_checks.check(parse(Params, params))
    params["strategy"]["final_fit"] = True
    with pytest.raises(
        SightlineError, match=r"strategy\.final_fit: got true, expected false: model\.weights .* model\.pretrained"
    ):
        config_checks.check(parse(Params, params))


@pytest.mark.parametrize("classes", [["cat", "cat"], [], [""], "cat"])
def test_classes_are_names_that_differ(classes: object) -> None:
    values = read_params(ROOT / "params.yaml")["dataset"]
    assert parse(Dataset, values | {"classes": ["dog", "cat"]}).classes == ["dog", "cat"]
    with pytest.raises(SightlineError, match="classes"):
        parse(Dataset, values | {"classes": classes})
