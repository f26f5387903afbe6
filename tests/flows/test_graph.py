import re
from pathlib import Path

import pytest
from small_project import dvc

from flows import graph, project
from sightline.errors import SightlineError

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own use of pygtrie


def test_stages_come_after_what_they_need(tiny: Path) -> None:
    stages = graph.read()
    assert [stage.name for stage in stages] == ["config", "ingest", "fingerprint", "train", "evolve", "package"]
    by_name = {stage.name: stage for stage in stages}
    assert by_name["train"].needs == ("fingerprint", "ingest")
    assert by_name["train"].outs == (Path("models/baseline"), Path("reports/train"))
    assert all(stage.changed for stage in stages)


def test_after_a_run_nothing_is_changed_and_a_param_changes_what_follows(tiny: Path) -> None:
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert not any(stage.changed for stage in graph.read())
    assert graph.find(graph.read(), "train", "metrics.json") == Path("reports/train/metrics.json")
    assert graph.find(graph.read(), "train", "nothing.json") is None
    before = project.stage_keys(["ingest", "train"])
    params = tiny / "params.yaml"
    params.write_text(re.sub(r"lr0: 0\.\d+", "lr0: 0.003", params.read_text()))
    assert all(stage.changed for stage in graph.read())  # `config` reads all of params.yaml, and the others need it
    after = project.stage_keys(["ingest", "train"])
    assert before["ingest"] == after["ingest"]
    assert before["train"] != after["train"]


def test_outside_a_checkout_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SightlineError, match="not inside of a DVC repository"):
        graph.read()
