"""The flow on a small project, against a real Prefect server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_project import dvc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Prefect's and DVC's own
]


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def run(prefect_server: None, tiny: Path) -> Any:
    from flows.pipeline import pipeline

    def call(*overrides: str, **parameters: Any) -> Any:
        chosen = ["tracking=none", f"storage.url={tiny.parent / 'storage'}", *overrides]
        return pipeline(overrides=chosen, return_state=True, **parameters)

    return call


def task_states(flow_state: Any) -> dict[str, str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_state.state_details.flow_run_id]}))
    return {run.name: run.state.name for run in runs}


def artifacts_of(flow_state: Any) -> dict[str, Any]:
    import anyio
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    async def read() -> Any:
        async with get_client() as client:
            wanted = ArtifactFilterFlowRunId(any_=[flow_state.state_details.flow_run_id])
            return await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=wanted))

    return {artifact.key: artifact for artifact in anyio.run(read)}


def test_a_run_and_a_second_one_that_is_all_cached(run: Any, tiny: Path) -> None:
    first = run("train.epochs=2")
    assert first.is_completed(), first.message
    states = task_states(first)
    assert states == dict.fromkeys(["config", "ingest", "fingerprint", "train", "evolve", "package", "publish"], "Completed")
    artifacts = artifacts_of(first)
    assert artifacts["train-progress"].data == 100.0
    assert "data:image/png;base64" in artifacts["train-plots"].data
    assert "mAP50" in str(artifacts["train-metrics"].data)
    assert "lr0" in str(artifacts["evolve-trials"].data)

    second = run("train.epochs=2")
    assert second.is_completed(), second.message
    assert set(task_states(second).values()) == {"Cached"}
    assert second.message == "6 stages, 6 of them cached"
    assert dvc("repro").stdout.count("didn't change") == 6


def test_a_failed_stage_fails_the_flow_with_its_own_message_and_nothing_after_it_runs(run: Any, tiny: Path) -> None:
    from flows.pipeline import StageError

    failed = run("train.seed=666")
    assert failed.is_failed()
    assert failed.message == "train: seed 666, expected another: set train.seed"
    error = failed.result(raise_on_failure=False)
    assert isinstance(error, StageError)
    assert error.exit_code == 2
    states = task_states(failed)
    assert states["train"] == "Failed"
    assert states["evolve"] == states["package"] == "NotReady"
    assert "publish" not in states
    assert not (tiny / "dist").exists()


def test_an_answer_that_is_no_has_its_exit_code(run: Any) -> None:
    failed = run("train.seed=667")
    assert failed.message == "train: no model is good enough"
    assert failed.result(raise_on_failure=False).exit_code == 1


def test_a_failed_stage_is_tried_again_and_an_answer_is_final(run: Any, tiny: Path) -> None:
    again = ["executor.retries=1", "executor.retry_delay_s=0"]
    assert run("train.seed=668", *again).is_completed()
    assert run("train.seed=667", *again).is_failed()
    assert (tiny / "answers").read_text().split() == ["no"]


def test_a_wrong_override_fails_the_flow_and_leaves_params_as_they_are(run: Any, tiny: Path) -> None:
    before = (tiny / "params.yaml").read_bytes()
    failed = run("train.epcohs=2")
    assert failed.is_failed()
    assert "train.epcohs" in failed.message
    assert (tiny / "params.yaml").read_bytes() == before


def test_a_workspace_holds_one_run(run: Any) -> None:
    from flows import project

    with project.run_lock():
        failed = run()
    assert failed.is_failed()
    assert "wait for it, or cancel it" in failed.message


def test_the_form_offers_what_conf_holds(root: Path) -> None:
    from flows.pipeline import pipeline

    properties = pipeline.parameters.properties
    assert properties["model"]["enum"] == sorted(path.stem for path in (root / "conf" / "model").glob("*.yaml"))
    assert properties["model"]["default"] == "yolov8n"
    assert "traffic" in properties["dataset"]["enum"]
    assert "default" in properties["constraints"]["enum"]
    assert properties["experiment"]["enum"][0] == properties["experiment"]["default"] == "none"
    assert properties["overrides"]["type"] == "array"


def test_the_forms_choices_are_overrides() -> None:
    from flows.pipeline import as_overrides

    assert as_overrides({"model": "resnet18", "dataset": "traffic", "experiment": "none"}, ["train.epochs=1"]) == [
        "model=resnet18",
        "train.epochs=1",
    ]
    assert as_overrides({"model": "resnet18"}, ["model=yolov8n"]) == ["model=yolov8n"]
