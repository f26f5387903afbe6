"""The graph of dvc.yaml, as DVC reads it. The one file that imports DVC's Python API."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.errors import SightlineError


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: Its name.
        needs: The stages whose outputs it reads, sorted.
        outs: The files and folders that it writes, relative to the project's root.
        changed: Whether the stage, or one that it needs, directly or not, must run again.
    """

    name: str
    needs: tuple[str, ...]
    outs: tuple[Path, ...]
    changed: bool


def read(root: Path = Path()) -> list[Stage]:
    """The stages, each after those that it needs.

    Raises:
        SightlineError: There is no DVC project in `root`, or dvc.yaml or dvc.lock cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.lock:
            graph = repo.index.graph
            pending = {node.addressing: node for node in graph.nodes if node.is_data_source is False}
            stages: dict[str, Stage] = {}
            while pending:
                for name, node in list(pending.items()):
                    needs = tuple(sorted(needed.addressing for needed in graph.successors(node) if not needed.is_data_source))
                    if all(need in stages for need in needs):
                        outs = tuple(Path(out.fs_path).relative_to(repo.root_dir) for out in node.outs)
                        changed = any(stages[need].changed for need in needs) or bool(node.status())
                        stages[name] = Stage(name, needs, outs, changed)
                        del pending[name]
            return list(stages.values())
    except DvcException as error:
        causes = [str(error), *([str(error.__cause__)] if error.__cause__ else [])]
        raise SightlineError(f"{root.resolve()}: {': '.join(causes).rstrip('.')}: `dvc status` says more") from error


def is_current(stages: Sequence[Stage], stage: str) -> bool:
    """Whether what `stage` wrote is of the project as it is now; False where there is no such stage."""
    return any(candidate.name == stage and not candidate.changed for candidate in stages)


def find(stages: Sequence[Stage], stage: str, file: str) -> Path | None:
    """Where `stage` wrote `file`; None where it did not."""
    outs = [out for candidate in stages if candidate.name == stage for out in candidate.outs]
    return next((out / file for out in outs if (out / file).is_file()), None)
