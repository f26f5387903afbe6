"""What `dvc repro -s STAGE` prints: the stage's own lines, its progress, and how it ended."""

import re
from dataclasses import dataclass

_PROGRESS = re.compile(r"^(?P<name>\S.*?): (?P<done>\d+)/(?P<total>\d+) (?P<unit>\w+)(?:, (?P<note>.+))?$")
_EXITED = re.compile(r"exited with (-?\d+)")
_DVC = re.compile(
    r"^(Running stage '|> |Stage '.*' (didn't change|is cached)|(Generating|Updating) lock file|To track the changes with git"
    r"|\t(git add|dvc config) |To enable auto staging|Use `dvc push`|Data and pipelines are up to date|Verifying data sources)"
)


@dataclass(frozen=True)
class Step:
    """A line of progress, `train: 3/20 epochs, mAP50 0.41`.

    Attributes:
        name: What is under way.
        percent: How much of it is done, 0-100.
        description: The line without its name, e.g. `3/20 epochs, mAP50 0.41`.
    """

    name: str
    percent: float
    description: str


def parse_progress(line: str) -> Step | None:
    """The progress that `line` reports; None where it is another line."""
    match = _PROGRESS.match(line)
    if match is None or int(match["total"]) == 0:
        return None
    percent = 100 * int(match["done"]) / int(match["total"])
    return Step(match["name"], min(percent, 100.0), line.removeprefix(f"{match['name']}: "))


def is_dvc(line: str) -> bool:
    """Whether DVC wrote the line, and not the stage."""
    return not line or _DVC.match(line) is not None


class Transcript:
    """The lines of one stage's run.

    Args:
        stage: Its name.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.ran = False
        self._lines: list[str] = []
        self._exited: int | None = None

    def add(self, line: str) -> None:
        """Takes the next line."""
        if line.startswith(f"Running stage '{self.stage}'"):
            self.ran = True
        if match := _EXITED.search(line):
            self._exited = int(match[1])
        if not is_dvc(line) and parse_progress(line) is None:
            self._lines.append(line)

    def exit_code(self) -> int:
        """The stage's exit code where it failed: 1 (the answer is no), 2 and others as DVC passed them on."""
        return self._exited if self._exited in (1, 2) else 2

    def message(self) -> str:
        """Why the stage failed: its own message, else DVC's, else the last line."""
        start = max((index for index, line in enumerate(self._lines) if line.startswith(f"{self.stage}: ")), default=None)
        if start is not None:
            said = []
            for line in self._lines[start:]:
                if line.startswith("ERROR: "):
                    break
                said.append(line)
            return "\n".join(said)
        errors = [line.removeprefix("ERROR: ") for line in self._lines if line.startswith("ERROR: ")]
        own = [line for line in self._lines if not line.startswith("ERROR: ")]
        if self._exited is not None and own:
            return f"{self.stage}: {own[-1].strip()}"
        return f"{self.stage}: {errors[-1] if errors else 'ended without a message: run `dvc repro` to see why'}"
