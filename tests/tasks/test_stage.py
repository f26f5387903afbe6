import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

STAGE = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from sightline.errors import AnswerIsNo, SightlineError
from tasks import schema, stage

@dataclass(frozen=True)
class Paths:
    data: Path
    out: stage.Output
    report: stage.Output
    work: stage.Work

class Config(schema.Section):
    package: schema.Package

def tiny(paths: Paths, config: Config) -> stage.Metrics:
    paths.out.write_text(paths.data.read_text())
    paths.report.mkdir()
    done = paths.work / "done.txt"
    steps = len(done.read_text()) if done.exists() else 0
    (paths.report / "resumed.txt").write_text(str(steps))
    mode = config.package.name
    if mode == "wrong":
        raise SightlineError("data: got nothing")
    if mode == "no":
        raise AnswerIsNo("nothing is good enough")
    if mode == "bug":
        raise RuntimeError("a bug")
    for _ in range(steps, 3):
        with done.open("a") as file:
            file.write("x")
        if mode == "hang" and not os.environ.get("GO_ON"):
            print("hanging", flush=True)
            time.sleep(60)
    return {"steps": 3.0}

if __name__ == "__main__":
    stage.main(tiny)
"""


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    (tmp_path / "tiny.py").write_text(textwrap.dedent(STAGE))
    (tmp_path / "data.txt").write_text("data")
    configure(tmp_path, "good")
    return tmp_path


def configure(project: Path, mode: str, **more: object) -> None:
    tracking = {"mlflow": False, "tensorboard": False, "wandb": False, "uri": None, "experiment": "tests"}
    (project / "params.yaml").write_text(yaml.safe_dump({"package": {"name": mode, **more}, "tracking": tracking}))


def command(project: Path) -> list[str]:
    return [sys.executable, "tiny.py", "--data", "data.txt", "--out", "made/out.txt", "--report", "made/report"]


def run(project: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(project), cwd=project, env=os.environ | env, capture_output=True, text=True, check=False)


def outputs(project: Path) -> list[str]:
    return sorted(path.relative_to(project / "made").as_posix() for path in (project / "made").rglob("*") if path.is_file())


def test_outputs_and_metrics_are_in_place_and_nothing_else(project: Path) -> None:
    done = run(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert outputs(project) == ["out.txt", "report/metrics.json", "report/resumed.txt"]
    assert (project / "made/report/metrics.json").read_text() == '{\n  "steps": 3.0\n}\n'
    assert not [path for path in (project / "work").rglob("*") if path.suffix == ".txt" and path.name != "done.txt"]


def test_old_outputs_are_replaced_whole(project: Path) -> None:
    (project / "made/report").mkdir(parents=True)
    (project / "made/report/old.txt").write_text("old")
    assert run(project).returncode == 0
    assert "report/old.txt" not in outputs(project)


@pytest.mark.parametrize(
    ("mode", "code", "message", "written"),
    [
        ("wrong", 2, "tiny: data: got nothing\n", []),
        ("no", 1, "tiny: nothing is good enough\n", ["out.txt", "report/resumed.txt"]),
    ],
)
def test_a_mistake_leaves_nothing_and_a_no_leaves_its_report(
    project: Path, mode: str, code: int, message: str, written: list[str]
) -> None:
    configure(project, mode)
    done = run(project)
    assert (done.returncode, done.stderr) == (code, message)
    assert outputs(project) == written if written else not (project / "made").exists()


def test_a_bug_keeps_its_traceback(project: Path) -> None:
    configure(project, "bug")
    done = run(project)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not (project / "made").exists()


def test_an_unknown_setting_is_named(project: Path) -> None:
    configure(project, "good", nmae="x")
    done = run(project)
    assert done.returncode == 2
    assert "package.nmae: unknown key: did you mean package.name?" in done.stderr
    assert "Traceback" not in done.stderr


def start_hanging(project: Path) -> "subprocess.Popen[str]":
    configure(project, "hang")
    process = subprocess.Popen(command(project), cwd=project, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "hanging\n"
    return process


def test_a_killed_stage_goes_on_from_its_work_and_another_configuration_does_not(project: Path) -> None:
    with start_hanging(project) as process:
        process.kill()
    assert not (project / "made").exists()
    (project / "data.txt").write_text("other")
    assert run(project, GO_ON="1").returncode == 0
    assert (project / "made/report/resumed.txt").read_text() == "0", "other data must not resume"
    (project / "data.txt").write_text("data")
    assert run(project, GO_ON="1").returncode == 0
    assert (project / "made/report/resumed.txt").read_text() == "1"


def test_a_finished_run_s_state_stays_until_the_next_with_other_inputs(project: Path) -> None:
    assert run(project).returncode == 0
    assert len(list((project / "work/tiny").glob("*/state/done.txt"))) == 1
    (project / "data.txt").write_text("other")
    assert run(project).returncode == 0
    assert len(list((project / "work/tiny").glob("*/state/done.txt"))) == 1


def test_the_same_stage_does_not_run_twice_at_once(project: Path) -> None:
    with start_hanging(project) as process:
        second = run(project, GO_ON="1")
        process.kill()
    assert second.returncode == 2
    assert "another process runs this stage" in second.stderr


def test_a_stage_dies_with_its_parent(project: Path) -> None:
    configure(project, "hang")
    parent = subprocess.Popen(
        ["sh", "-c", f"{' '.join(command(project))} & echo $!; wait"], cwd=project, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "hanging\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split():
        assert time.monotonic() < deadline, "the stage outlived its parent"
        time.sleep(0.05)
