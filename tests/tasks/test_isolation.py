"""What a process of its own may do without ending its parent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.isolation import Worker, run_isolated

ROOT = Path(__file__).parents[2]
MODULES = {
    "answers": """
import json, sys
got = json.load(open(sys.argv[1]))
json.dump({"status": "ok", "message": "", "got": got}, open(sys.argv[2], "w"))
""",
    "leaves": """
import subprocess, sys
subprocess.Popen(["sleep", "614"])
sys.exit("gone")
""",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "raises": "raise ValueError('no such thing')",
    "obeys": """
import os, signal, time
from tasks.commands import answer_commands
held = []
def answer(command):
    print("what a library prints is no answer")
    if command["do"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if command["do"] == "sleep":
        time.sleep(615)
    if command["do"] == "eat":
        held.append(b"x" * 300_000_000)
        time.sleep(615)
    return {"status": "ok" if command["do"] == "echo" else "failed", "message": "", "got": command.get("value")}
answer_commands(answer)
""",
    "sleeps": "import subprocess, time; subprocess.Popen(['sleep', '612']); time.sleep(612)",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")


def test_answer_is_returned() -> None:
    assert run_isolated("answers", {"a": [1]}, 30) == {"status": "ok", "message": "", "got": {"a": [1]}}


def test_crash_is_an_answer() -> None:
    assert run_isolated("crashes", {}, 30) == {"status": "failed", "message": "died of SIGSEGV"}


def test_exception_is_an_answer_with_its_last_line() -> None:
    assert run_isolated("raises", {}, 30) == {"status": "failed", "message": "exit code 1: ValueError: no such thing"}


def test_hang_is_killed_with_what_it_started() -> None:
    start = time.monotonic()
    answer = run_isolated("sleeps", {}, 1)
    assert answer["status"] == "timeout"
    assert "1 s" in answer["message"]
    assert time.monotonic() - start < 20
    assert_gone("sleep 612")


def test_nothing_is_left_behind() -> None:
    assert run_isolated("leaves", {}, 30)["message"] == "exit code 1: gone"
    assert_gone("sleep 614")


def test_a_worker_answers_command_after_command() -> None:
    with Worker("obeys", memory_mb=1000) as worker:
        assert [worker.ask({"do": "echo", "value": value}, 30)["got"] for value in (1, "x" * 100_000)] == [1, "x" * 100_000]
        assert worker.alive
    assert_gone("-m obeys")


@pytest.mark.parametrize(
    ("command", "timeout_s", "status", "message"),
    [
        ("crash", 30, "failed", "died of SIGSEGV"),
        ("sleep", 1, "timeout", "took longer than 1 s: raise benchmark.timeout_s"),
        ("eat", 30, "memory", "expected at most 200 MB: raise benchmark.memory_mb"),
        ("refuse", 30, "failed", ""),
    ],
)
def test_what_ends_a_worker_is_its_answer(command: str, timeout_s: float, status: str, message: str) -> None:
    with Worker("obeys", memory_mb=200) as worker:
        assert worker.ask({"do": "echo"}, 30)["status"] == "ok"
        first = worker.ask({"do": command}, timeout_s)
        assert first["status"] == status
        assert message in first["message"]
        assert not worker.alive
        assert worker.ask({"do": "echo"}, 30) == first, "it stays over"
    assert_gone("-m obeys")


def test_a_worker_that_does_not_start_says_why() -> None:
    with Worker("raises", memory_mb=200) as worker:
        assert worker.ask({"do": "echo"}, 30)["message"] == "exit code 1: ValueError: no such thing"


def test_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time; time.sleep(613)", encoding="utf-8")
    code = "from tasks.isolation import run_isolated; run_isolated('hangs', {}, 600)"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not processes("-m hangs") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes("-m hangs")
    parent.kill()
    parent.wait()
    assert_gone("-m hangs")


def assert_gone(command: str) -> None:
    """Waits for the kernel to clear what was killed."""
    deadline = time.monotonic() + 10
    while processes(command) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes(command)


def processes(command: str) -> list[str]:
    """The running processes whose command line holds `command`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if command in line:
            found.append(json.dumps(line))
    return found
