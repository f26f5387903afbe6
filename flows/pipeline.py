"""The Prefect flow: composes params.yaml, runs each stage of DVC's graph as a task, then publishes.

DVC holds the graph and the cache; the flow adds when each stage runs, its logs, its state and its artifacts.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from flows import artifacts, compose, graph, project, storage
from flows.graph import Stage
from flows.output import Transcript, is_dvc, parse_progress
from flows.processes import Processes
from sightline.errors import AnswerIsNo, SightlineError
from tasks import schema, trackers
from tasks.stage import die_with_parent
from tasks.trackers._spool import WATCH

CONF = Path(__file__).parents[1] / "conf"
DEFAULTS = {group: str(project.default(group, CONF)) for group in ("dataset", "model", "constraints")}
NO_EXPERIMENT = "none"


@dataclass(frozen=True)
class Group:
    """A parameter that names a file of conf/<name>; the form lists those that there are, and `also`."""

    name: str
    also: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": [*self.also, *project.names(self.name, CONF)]}


class StageError(SightlineError):
    """A stage failed; the message and the exit code are its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@flow(
    name="sightline",
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner()),
)
def pipeline(
    dataset: Annotated[str, Group("dataset")] = DEFAULTS["dataset"],
    model: Annotated[str, Group("model")] = DEFAULTS["model"],
    constraints: Annotated[str, Group("constraints")] = DEFAULTS["constraints"],
    experiment: Annotated[str, Group("experiment", also=(NO_EXPERIMENT,))] = NO_EXPERIMENT,
    overrides: list[str] = [],  # noqa: B006  Prefect shows the default in the form
    publish: bool = True,
) -> State[Any]:
    """From a labelled dataset and constraints to the inference service that meets them.

    Args:
        dataset: Where the images come from: a file of conf/dataset.
        model: The architecture, and the recipe that trains it: a file of conf/model.
        constraints: What the service must meet: a file of conf/constraints.
        experiment: Named overrides: a file of conf/experiment.
        overrides: Values that win over all others, as on the command line: train.epochs=5
        publish: Whether to push, copy and register what was packaged.
    """
    _end_with_runner()
    chosen = {"dataset": dataset, "model": model, "constraints": constraints, "experiment": experiment}
    try:
        project.check()
        with project.run_lock():
            compose.write_params(as_overrides(chosen, overrides))
            project.write_source()
            storage.configure()
            executor = schema.parse(schema.Executor, schema.read_params()["executor"])
            return _run_graph(graph.read(), executor, publish)
    except SightlineError as error:
        return Failed(message=str(error), data=error)


def as_overrides(chosen: Mapping[str, str], overrides: Sequence[str]) -> list[str]:
    """The form's choices as Hydra's overrides; what conf/config.yaml chooses is no override, so that an experiment may."""
    given = {override.partition("=")[0] for override in overrides}
    picks = [
        f"{group}={name}" for group, name in chosen.items() if group not in given and name != DEFAULTS.get(group, NO_EXPERIMENT)
    ]
    return [*picks, *overrides]


def _run_graph(stages: Sequence[Stage], executor: schema.Executor, publish: bool) -> State[Any]:
    """Runs the stages, each when those that it needs are done."""
    futures: dict[str, PrefectFuture[Any]] = {}
    with Processes() as processes:
        for stage in stages:
            named = run_stage.with_options(
                name=stage.name,
                task_run_name=stage.name,
                retries=executor.retries,
                retry_delay_seconds=executor.retry_delay_s,
            )
            needed = [futures[need] for need in stage.needs]
            futures[stage.name] = named.submit(stage=stage, processes=processes, wait_for=needed, return_state=False)
        for future in futures.values():
            future.wait()
    states = {name: future.state for name, future in futures.items()}
    trackers.link_cached(project.stage_keys([name for name, state in states.items() if state.name == "Cached"]))
    if publish and not _failed(states):
        future = run_publish.submit(wait_for=list(futures.values()), return_state=False)
        future.wait()
        states["publish"] = future.state
    trackers.finish()
    if failed := _failed(states):
        message = "\n".join(str(state.message) for state in failed.values())
        codes = [getattr(state.result(raise_on_failure=False), "exit_code", 2) for state in failed.values()]
        return Failed(message=message, data=StageError(message, max(codes)))
    cached = sum(states[stage.name].name == "Cached" for stage in stages)
    return Completed(message=f"{len(stages)} stages, {cached} of them cached")


def _failed(states: Mapping[str, State[Any]]) -> dict[str, State[Any]]:
    return {name: state for name, state in states.items() if state.is_failed() or state.is_crashed()}


def _may_pass_again(task: Any, run: Any, state: State[Any]) -> bool:
    """An answer that is no is not asked for again."""
    return getattr(state.data, "exit_code", 2) != AnswerIsNo.exit_code


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=_may_pass_again)
def run_stage(stage: Stage, processes: Processes) -> State[Any]:
    """Runs a stage of dvc.yaml by DVC, or takes its cached outputs."""
    if not stage.changed:
        artifacts.publish(stage, with_plots=False)  # those of the run that drew them are in the server
        return Completed(name="Cached", message="nothing that it depends on has changed")
    logger, progress, transcript = get_run_logger(), artifacts.ProgressArtifacts(), Transcript(stage.name)

    def on_line(line: str) -> None:
        transcript.add(line)
        logger.log(logging.DEBUG if is_dvc(line) or line.startswith("ERROR: ") else logging.INFO, line)
        if step := parse_progress(line):
            progress.update(step)

    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", stage.name]
    code = processes.run(command, on_line, env={WATCH: str(os.getpid())})
    if code != 0:
        message = transcript.message() if code > 0 else f"{stage.name}: ended by signal {-code}"
        return Failed(message=message, data=StageError(message, transcript.exit_code()))
    artifacts.publish(stage, with_plots=True)
    if transcript.ran:
        return Completed(message="ran")
    return Completed(name="Cached", message="DVC's cache holds what it would write")


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def run_publish() -> State[Any]:
    """Pushes, copies and registers what was packaged, once for each manifest."""
    from flows import publish

    try:
        done = publish.publish()
    except SightlineError as error:
        return Failed(message=str(error), data=error)
    for line in done.lines:
        get_run_logger().info(line)
    return Completed(name="Completed" if done.is_new else "Cached", message="; ".join(done.lines))


def _end_with_runner() -> None:
    """A deployment's run ends with the process that serves it."""
    if runtime.deployment.id:
        die_with_parent()
