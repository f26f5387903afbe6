"""What every stage needs, in one place: arguments, typed configuration, resumable work, outputs renamed into place, exit codes.

A stage is a function `(paths, config) -> metrics | None`. `paths` is a dataclass whose fields are the command's arguments:
`Path` for what it reads, `Output` for what it writes, `Work` for a folder that outlives an interrupted run. `config` is a
`tasks.schema.Section` whose fields are the sections of params.yaml that the stage reads; a test holds both against dvc.yaml.
Outputs are written under `work/<stage>/<key>/` and renamed into place at the end, so that an interrupted stage leaves nothing
half-written. The key is a hash of what the stage depends on: another configuration never resumes this one's work.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import psutil
import yaml

from sightline.contract import dump_json
from sightline.errors import AnswerIsNo, SightlineError
from tasks import trackers
from tasks.schema import Params, parse, read_params

Output = Annotated[Path, "output"]
Work = Annotated[Path, "work"]
Metrics = Mapping[str, float]
METRICS_FILE = "metrics.json"
DONE_FILE = "done"
QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""No library reports home."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(function: Callable[[Any, Any], Metrics | None]) -> None:
    """Runs a stage as a command: `python -m tasks.<stage> --<path> PATH ...`; exits with 0, 1 (the answer is no) or 2."""
    die_with_parent()
    os.environ.update(QUIET)
    try:
        run(function, sys.argv[1:])
    except AnswerIsNo as answer:
        print(f"{function.__name__}: {answer}", file=sys.stderr)
        sys.exit(answer.exit_code)
    except SightlineError as error:
        print(f"{function.__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def run(function: Callable[[Any, Any], Metrics | None], arguments: list[str]) -> Metrics:
    """Runs a stage in this process; what it returns also stands in the `metrics.json` of its `report` output."""
    name = function.__name__
    hints = get_type_hints(function, include_extras=True)
    fields = get_type_hints(hints["paths"], include_extras=True)
    given = _parse_arguments(name, fields, arguments)
    params = read_params()
    schema = hints["config"]
    sections = [field.alias or key for key, field in schema.model_fields.items()]
    chosen = {key: params[key] for key in sections if key in params}
    with trackers.attempt(name, chosen):
        config = parse(schema, chosen if schema is not Params else params)
        inputs = [path for key, path in given.items() if not _is(fields[key], "output")]
        with _work_folder(name, inputs, sections, params) as work:
            outputs = {key: work / key for key, kind in fields.items() if _is(kind, "output")}
            works = {key: work / "state" for key, kind in fields.items() if _is(kind, "work")}
            for path in outputs.values():
                _remove(path)
            for path in works.values():
                path.mkdir(exist_ok=True)
            try:
                metrics = function(hints["paths"](**{**given, **outputs, **works}), config) or {}
                if metrics and "report" in outputs:
                    (outputs["report"] / METRICS_FILE).write_text(dump_json(dict(metrics)), encoding="utf-8")
            except AnswerIsNo:
                _publish(outputs, given)
                raise
            written = _publish(outputs, given)
            trackers.record(name, work.name, config.model_dump(mode="json", by_alias=True), metrics, written)
            (work / DONE_FILE).touch()
    return metrics


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies, so that a killed run leaves nothing behind (Linux).

    A stage whose DVC was killed while this process started is a child of init by now, and ends at once.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if "DVC_STAGE" in os.environ and not _is_started_by_dvc(os.getppid()):
        sys.exit(128 + signal.SIGKILL)


def _is_started_by_dvc(parent: int) -> bool:
    """Whether a stage's parent is no init that adopted it; DVC itself may be a container's first process."""
    process = psutil.Process(parent)
    return not (parent == 1 or process.name() == "systemd") or any("dvc" in word for word in process.cmdline())


def _is(kind: Any, role: str) -> bool:
    return role in get_args(kind)[1:]


def _parse_arguments(name: str, fields: Mapping[str, Any], arguments: list[str]) -> dict[str, Path]:
    parser = argparse.ArgumentParser(prog=f"python -m tasks.{name}", description=f"The stage {name}; see dvc.yaml.")
    for key, kind in fields.items():
        if not _is(kind, "work"):
            parser.add_argument(f"--{key.replace('_', '-')}", dest=key, type=Path, required=True, metavar="PATH")
    return vars(parser.parse_args(arguments))


@contextmanager
def _work_folder(name: str, inputs: list[Path], sections: list[str], params: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of this stage with these inputs, held by a file lock."""
    key = key_of(name, inputs, {section: params.get(section) for section in sections}, params)
    work = Path("work") / name / key
    work.mkdir(parents=True, exist_ok=True)
    with (work.parent / f"{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SightlineError(f"{work}: another process runs this stage: wait for it, or stop it") from None
        _forget_others(work)
        yield work


def _forget_others(work: Path) -> None:
    """Removes what finished runs with other inputs left; what was interrupted can still go on.

    A finished run's state stays until then: a run that is killed before DVC has locked the outputs goes on from it.
    """
    for other in work.parent.glob("*.lock"):
        if other.stem != work.name and (other.with_suffix("") / DONE_FILE).exists():
            with other.open("w") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(other.with_suffix(""))
                other.unlink()


def key_of(name: str, inputs: list[Path], config: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """A hash of the stage's configuration, dependencies and code, as dvc.yaml names them."""
    dependencies = {str(path) for path in inputs}
    if Path("dvc.yaml").is_file():
        stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
        dependencies = {fill_template(str(path), params) for path in stages.get(name, {}).get("deps", [])}
    known = _locked_hashes()
    hashes = {path: known.get(path) or hash_path(Path(path)) for path in sorted(dependencies)}
    return hashlib.sha256(json.dumps([config, hashes], sort_keys=True, default=str).encode()).hexdigest()[:16]


def fill_template(text: str, params: Mapping[str, Any]) -> str:
    """`text` with each `${a.b}` of dvc.yaml replaced by its value in params.yaml."""

    def value(match: re.Match[str]) -> str:
        node: Any = params
        for part in match[1].split("."):
            node = node[part]
        return str(node)

    return re.sub(r"\$\{([\w.]+)\}", value, text)


def _locked_hashes() -> dict[str, str]:
    """What dvc.lock says of the outputs that earlier stages wrote."""
    if not Path("dvc.lock").is_file():
        return {}
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8")) or {}
    return {
        out["path"]: out["md5"] for entry in lock.get("stages", {}).values() for out in entry.get("outs", []) if "md5" in out
    }


def hash_path(path: Path) -> str:
    """SHA-256 over a file, or over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _publish(outputs: Mapping[str, Path], final: Mapping[str, Path]) -> dict[str, Path]:
    """Renames each output into place; returns where they are now."""
    published = {}
    for key, path in outputs.items():
        if not path.exists():
            continue
        final[key].parent.mkdir(parents=True, exist_ok=True)
        _remove(final[key])
        os.replace(path, final[key])
        published[key] = final[key]
    return published


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
