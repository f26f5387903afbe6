"""`sightline ui`: Prefect's server and UI, and a deployment of the flow, in one command."""

import os
import signal
from types import FrameType

from flows import server
from sightline.errors import SightlineError

DEPLOYMENT = "sightline"


def run(cron: str, port: int) -> int:
    """Serves until it is interrupted; returns the exit code.

    Raises:
        SightlineError: The cron expression is wrong, the port is taken, or the server does not come up.
    """
    server.prepare_environment()
    os.environ["PREFECT_API_URL"] = server.address(port)  # before Prefect is imported: it would use a server of its own
    _check_cron(cron)
    signal.signal(signal.SIGTERM, _interrupt)
    print(f"starting Prefect's server on port {port} ...", flush=True)
    url = server.until_exit(server.started(port))
    server.URL_FILE.write_text(url, encoding="utf-8")
    try:
        _serve(cron, url)
    except KeyboardInterrupt:
        return 0
    finally:
        server.URL_FILE.unlink(missing_ok=True)
    return 0


def _serve(cron: str, url: str) -> None:
    from prefect import serve

    from flows.pipeline import pipeline

    deployment = pipeline.to_deployment(
        DEPLOYMENT,
        cron=cron,
        concurrency_limit=1,
        description="Looks for new data at the source, and runs what changed. Run > Custom run takes other parameters.",
    )
    address = url.removesuffix("/api")
    print(f"Prefect's UI: {address}")
    print(f"deployment {pipeline.name}/{DEPLOYMENT}: runs at '{cron}', one at a time")
    print(f"to start a run with other parameters: {address}/deployments > {DEPLOYMENT} > Run > Custom run, or")
    print(f"  PREFECT_API_URL={url} prefect deployment run {pipeline.name}/{DEPLOYMENT} --param experiment=smoke")
    print("Ctrl-C stops all of it", flush=True)
    serve(deployment, print_starting_message=False)  # type: ignore[arg-type]


def _check_cron(cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise SightlineError(f"--cron: got {cron!r}, expected five fields: '0 * * * *' is each full hour") from error


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
