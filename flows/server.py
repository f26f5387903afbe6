"""Prefect's server: that of PREFECT_API_URL, that of `sightline ui`, or one of our own for as long as it is needed.

It is started here and not by Prefect, so that it ends with this process however it ends. Nothing here imports Prefect: its
settings are read from the environment when it is imported.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from flows import processes
from sightline.errors import SightlineError
from tasks.stage import QUIET

HOME = Path("work/prefect")
URL_FILE = HOME / "api_url"
START_TIMEOUT_S = 120


def prepare_environment() -> None:
    """Keeps Prefect's data in the project, its console quiet, and nothing reporting home."""
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET)
    os.environ.setdefault("PREFECT_HOME", str(HOME.resolve()))
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")


@contextmanager
def available() -> Iterator[str]:
    """The API's address of a server that runs already, or of one that runs while the context does.

    Raises:
        SightlineError: PREFECT_API_URL names a server that does not answer.
    """
    prepare_environment()
    given = os.environ.get("PREFECT_API_URL")
    if given:
        if not is_up(given):
            raise SightlineError(f"PREFECT_API_URL: {given} does not answer: start the server, or unset the variable")
        yield given
    elif URL_FILE.is_file() and is_up(url := URL_FILE.read_text(encoding="utf-8").strip()):
        os.environ["PREFECT_API_URL"] = url
        yield url
    else:
        with started(free_port(), ui=False) as url:
            yield url


@contextmanager
def started(port: int, ui: bool = True) -> Iterator[str]:
    """Starts a server on loopback, sets PREFECT_API_URL to its API, yields that, and stops the server.

    Raises:
        SightlineError: The port is taken, or the server does not come up.
    """
    prepare_environment()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SightlineError(f"port {port}: {error.strerror}: choose another by --port") from error
    url = address(port)
    log = HOME / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    if not ui:
        command += ["--no-ui"]
    with log.open("w", encoding="utf-8") as file:
        process = processes.start(command, file)
    try:
        _wait(process, url, log)
        os.environ["PREFECT_API_URL"] = url
        yield url
    finally:
        processes.stop(process)
        if os.environ.get("PREFECT_API_URL") == url:
            del os.environ["PREFECT_API_URL"]


def until_exit(server: AbstractContextManager[str]) -> str:
    """Enters the context and leaves it last of all, when Prefect has sent what it still had to send; returns the address."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(server)


def address(port: int) -> str:
    """The API of a server of ours."""
    return f"http://127.0.0.1:{port}/api"


def is_up(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=3) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[str]", url: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not is_up(url):
        if process.poll() is not None or time.monotonic() > end:
            lines = log.read_text(encoding="utf-8").strip().splitlines()
            raise SightlineError(f"Prefect's server did not start: {lines[-1] if lines else 'no output'}: see {log}")
        time.sleep(0.1)
