"""Every command of the README is run."""

import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkout import Checkout

ROOT = Path(__file__).parents[2]
SMOKE = " -S experiment=smoke"
SERVERS = {  # what each serves when it is up
    "sightline serve dist/service": ("http://127.0.0.1:8000/health", 60),
    "sightline ui": ("http://127.0.0.1:4200/api/health", 120),
    "mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db": ("http://127.0.0.1:5000/health", 120),
}
RUN_ELSEWHERE = {"make run", "make test"}  # the latter runs this; the former is the smoke checkout's pipeline at full size


def commands() -> list[str]:
    """The lines of the README's `sh` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_readme_opens_with_the_two_commands() -> None:
    assert commands()[:2] == ["make run", "make test"]


def test_nothing_is_left_to_fill_in() -> None:
    text = (ROOT / "README.md").read_text()
    assert "TIME" not in text
    assert "SUMMARY" not in text


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", sorted(set(commands()) - RUN_ELSEWHERE))
def test_command(command: str, fork: Callable[[], Checkout], request: pytest.FixtureRequest) -> None:
    checkout = fork()
    if "../shared/data" in command:
        real = str(request.getfixturevalue("real_data"))
        command = command.replace("../shared/data", real)
        if command.startswith("sightline diff"):
            checkout.run(before("sightline convert").replace("../shared/data", real))
    if "splits/bccd.json" in command:
        checkout.run(before("mkdir -p splits"))
    if command.startswith("sightline select"):
        checkout.run(before("sightline benchmark") + " experiment=smoke")
    if command in SERVERS:
        url, limit_s = SERVERS[command]
        with started(checkout, command):
            wait_for(url, limit_s)
        return
    if command.startswith("dvc exp run"):
        command += SMOKE
    elif command.startswith(("sightline run", "sightline benchmark")):
        command += " experiment=smoke"
    elif command.startswith("sightline predict"):
        photo = sorted((checkout.folder / "data/raw").rglob("*.jpg"))[0]
        command = command.replace("photo.jpg", str(photo))
    if "mAP50=0.7" in command:  # more than an epoch on 60 images can learn
        done = checkout.run(command, ok=False)
        assert done.returncode != 0
        assert "mAP50" in done.stdout
        return
    checkout.run(command)


def before(start: str) -> str:
    """The README's command that begins like this."""
    return next(each for each in commands() if each.startswith(start))


@contextmanager
def started(checkout: Checkout, command: str) -> Iterator[None]:
    process = checkout.start(command)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def wait_for(url: str, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < deadline, f"{url}: no answer in {limit_s} s"
            time.sleep(0.5)
