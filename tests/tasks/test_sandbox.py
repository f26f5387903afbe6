"""What a process shut in can and cannot do."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def inside(statement: str, tmp_path: Path) -> tuple[str, Path]:
    """What a statement came to in a sandbox: `done`, or the exception's name; and the folder that can be written."""
    own, given = tmp_path / "own", tmp_path / "given.txt"
    own.mkdir(exist_ok=True)
    given.write_text("given")
    (tmp_path / "secret.txt").write_text("secret")
    code = f"""
        import ctypes, os, socket, subprocess, threading
        from pathlib import Path
        from tasks import sandbox
        parent, own, given, root = os.getppid(), {str(own)!r}, {str(given)!r}, {str(tmp_path)!r}
        sandbox.enter([Path(given)], [Path(own)])
        try:
            {statement}
            print("done")
        except BaseException as error:
            print(type(error).__name__)
    """
    environment = {"PYTHONPATH": str(ROOT), "SECRET": "in the parent"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    return (done.stdout.strip() or f"died: {done.returncode} {done.stderr[-300:]}"), own


@pytest.mark.parametrize(
    "statement",
    [
        "Path(given).read_text()",
        "Path(own, 'x').write_text('x')",
        "thread = threading.Thread(target=print); thread.start(); thread.join()",
        "import json.tool, ctypes.util, sqlite3",
        "import tasks.weights, sightline.contract",
    ],
)
def test_the_work_can_be_done(statement: str, tmp_path: Path) -> None:
    assert inside(statement, tmp_path)[0].splitlines()[-1] == "done"


@pytest.mark.parametrize(
    "statement",
    [
        "Path(root, 'secret.txt').read_text()",
        "Path(root, 'canary').write_text('x')",
        "Path(given).write_text('x')",
        "Path(given).unlink()",
        "Path(given).chmod(0o777)",
        "Path(own, 'link').symlink_to('/etc/passwd')",
        "os.mkfifo(os.path.join(own, 'fifo'))",
        "Path('/etc/passwd').read_text()",
        "Path(f'/proc/{parent}/environ').read_text()",
        "Path.home().joinpath('.ssh').iterdir().__next__()",
        "socket.socket()",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', 9))",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.fork()",
        "os.kill(parent, 0)",
        "os.setxattr(own, 'user.x', b'x')",
    ],
)
def test_nothing_else(statement: str, tmp_path: Path) -> None:
    answer, own = inside(statement, tmp_path)
    assert answer in ("PermissionError", "FileNotFoundError", "OSError"), answer
    assert not (tmp_path / "canary").exists()
    assert not os.listdir(own)


def test_system_starts_nothing(tmp_path: Path) -> None:
    assert inside(f"assert os.system('touch {tmp_path}/canary') == 0", tmp_path)[0] != "done"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("call", [425, 435, 311, 442, 0x40000000 + 41])
def test_other_ways_into_the_kernel_are_closed(call: int, tmp_path: Path) -> None:
    answer = inside(f"assert ctypes.CDLL(None).syscall({call}, 0, 0, 0, 0, 0) >= 0", tmp_path)[0]
    assert answer == "AssertionError" or answer.startswith("died: -31"), answer


def test_memory_is_limited(tmp_path: Path) -> None:
    assert inside("bytearray(9 << 30)", tmp_path)[0] == "MemoryError"


def test_a_process_with_threads_is_refused() -> None:
    code = """
        import json, threading
        from pathlib import Path
        from tasks import sandbox
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        try:
            sandbox.enter([], [])
        except Exception as error:
            print(json.dumps(str(error)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert "a process of one thread" in json.loads(done.stdout)
