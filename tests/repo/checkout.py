"""A copy of the project, and how to run commands in it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.stage import QUIET

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Checkout:
    """A project folder and how to run commands in it."""

    folder: Path

    def env(self, **more: str) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | QUIET | {"PATH": path, "PYTHONPATH": str(self.folder)} | more

    def run(self, command: str, *, ok: bool = True, timeout: float = 580, **env: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.env(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not ok or done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Starts a command in a session of its own."""
        return subprocess.Popen(
            command.split(),
            cwd=self.folder,
            env=self.env(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stages_run(self, output: str) -> list[str]:
        """The stages that a `dvc repro` says it ran."""
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def copy_project(folder: Path) -> Checkout:
    """The project's files as they are now, committed in a repository of their own."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source = ROOT / name
        if source.is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    checkout = Checkout(folder)
    checkout.run("git init -q -b main && git config user.name Tester && git config user.email tester@example.org")
    checkout.run("git add -A && git commit -qm Copy")
    return checkout
