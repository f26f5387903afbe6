"""The model registry, in a real store of MLflow's: versions, the rule of promotion, and the way back."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from small_project import prepare

from flows import processes, registry, versions
from flows.server import free_port
from sightline.contract import dump_json
from sightline.errors import SightlineError
from tasks.noise import GROUPS

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own


@pytest.fixture
def model(tiny: Path) -> Path:
    """A project that tracks with MLflow, and publishes what is in the folder that is returned."""
    prepare("tracking=mlflow")
    folder = tiny / "dist" / "service"
    folder.mkdir(parents=True)
    return folder


def package(folder: Path, fitness: float, spread: float = 0.001, images: str = "a") -> None:
    """A manifest; a large `spread` is a model whose fitness hangs on a few images."""
    without = [fitness + (spread if group % 2 else -spread) for group in range(GROUPS)]
    test = {"hash": images, "images": 200, "fitness_without": without}
    (folder / "manifest.json").write_text(dump_json({"test": {"fitness": fitness}, "test_split": test}))


def publish(folder: Path) -> str:
    return registry.register("service", folder, "s3://bucket/service")


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    uri = f"sqlite:///{root}/mlflow/mlflow.db"
    return MlflowClient(uri, uri)


def aliases(root: Path) -> dict[str, str]:
    return {alias: str(version) for alias, version in client(root).get_registered_model("service").aliases.items()}


def test_versions_are_promoted_by_the_rule_and_rolled_back(model: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package(model, 0.5)
    assert publish(model) == "registered: service v1, champion: there was none"
    assert publish(model) == "registered already: service v1, champion"
    assert aliases(tiny) == {"champion": "1"}

    package(model, 0.6)
    done = publish(model)
    assert done.startswith(
        "registered: service v2, champion: fitness 0.6000 on 200 test images, v1 has 0.5000: +0.1000, noise 0.00"
    )
    assert aliases(tiny) == {"champion": "2"}

    package(model, 0.61, spread=0.05)  # better, by less than the noise
    assert "registered: service v3, challenger: fitness 0.6100" in publish(model)
    assert aliases(tiny) == {"champion": "2", "challenger": "3"}
    assert versions.promote([]) == 1
    package(model, 0.9, images="b")
    assert publish(model) == "registered: service v4, challenger: tested on other images than v2, no comparison"
    assert versions.promote(["v4"]) == 1
    assert versions.promote(["4", "--force"]) == 0
    assert aliases(tiny) == {"champion": "4"}
    assert versions.promote(["v4"]) == 0

    assert versions.rollback([]) == 0
    assert aliases(tiny) == {"champion": "2"}
    assert publish(model) == "registered already: service v4"  # what was rolled back stays so
    assert aliases(tiny) == {"champion": "2"}
    assert versions.rollback([]) == 0
    assert aliases(tiny) == {"champion": "1"}
    with pytest.raises(SightlineError, match=r"service: got no champion before v1, expected one to go back to"):
        versions.rollback([])
    capsys.readouterr()
    assert versions.versions([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "service v4: rolled back to v2",
        "service v3: " + client(tiny).get_model_version("service", "3").tags["sightline.decision"],
        "service v2: rolled back to v1",
        "service v1, champion: there was none",
    ]
    log = json.loads(client(tiny).get_registered_model("service").tags["sightline.champions"])
    assert [(entry["how"], entry["version"]) for entry in log] == [
        ("promote", "1"),
        ("promote", "2"),
        ("promote", "4"),
        ("rollback", "2"),
        ("rollback", "1"),
    ]
    store = client(tiny)
    paths = [item.path for item in store.list_artifacts(store.get_model_version("service", "2").run_id, "package")]
    assert len(paths) == 4  # a folder each: no version overwrites another's files


def test_a_registration_that_was_cut_short_is_completed(model: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(model, 0.5)
    with monkeypatch.context() as patched:
        patched.setattr(registry.Registry, "challenge", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish(model)
    assert publish(model) == "registered: service v1, champion: there was none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v7"], r"service: got version v7, expected one of v1"),
        ([], r"service: got no challenger: name a version: v1"),
    ],
)
def test_a_version_that_is_not_there(model: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SightlineError, match=r"service: got no version, expected one: run `sightline publish`"):
        versions.promote(arguments)
    package(model, 0.5)
    publish(model)
    with pytest.raises(SightlineError, match=message):
        versions.promote(arguments)


def test_without_mlflow_there_is_no_registry(tiny: Path) -> None:
    assert registry.register("service", tiny, "here") == "not registered: tracking.mlflow=false"
    with pytest.raises(SightlineError, match="set tracking=mlflow"):
        versions.rollback([])
    with pytest.raises(SightlineError, match="set tracking=mlflow"):
        versions.compare([])


FEW = {"hash": "a", "fitness_without": []}


@pytest.mark.parametrize(
    ("challenger", "champion", "is_champion", "reason"),
    [
        ({}, {}, False, "tested on other images than v1, no comparison"),
        ({"hash": "a"}, {}, False, "tested on other images"),
        (
            {"hash": "a", "images": 7, "fitness_without": []},
            {"hash": "a", "fitness_without": []},
            False,
            "7 test images are too few",
        ),
    ],
)
def test_what_cannot_be_compared_is_not_promoted(
    challenger: dict[str, Any], champion: dict[str, Any], is_champion: bool, reason: str
) -> None:
    decision = registry.compare(challenger, champion, "v1")
    assert decision.is_champion == is_champion
    assert reason in decision.reason


@pytest.mark.slow
def test_a_server_holds_the_registry_too(model: Path, tiny: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    with processes.start(command, subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            prepare("tracking=mlflow", f"tracking.uri=http://127.0.0.1:{port}")
            package(model, 0.5)
            assert publish(model) == "registered: service v1, champion: there was none"
            package(model, 0.6)
            assert "registered: service v2, champion" in publish(model)
            assert registry.rollback("service") == "service v1 is the champion again, v2 no more"
            assert publish(model) == "registered already: service v2"
        finally:
            processes.stop(server)
    with pytest.raises(SightlineError, match="start the server, or set tracking"):
        publish(model)


def wait_for(url: str) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < end, f"{url}: no answer"
            time.sleep(0.5)
