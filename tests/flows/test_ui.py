"""`sightline ui`: server, form, schedule and cancelling, seen through its API and a real browser."""

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_cli import SIGHTLINE, processes_in, wait_for

from flows import processes
from flows.server import free_port

pytestmark = pytest.mark.slow


@dataclass
class Server:
    url: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def post(self, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def deployment(self) -> Any:
        return self.post("/deployments/filter")[0]

    def start_run(self, **parameters: Any) -> str:
        path = f"/deployments/{self.deployment()['id']}/create_flow_run"
        run: str = self.post(path, parameters=parameters, state={"type": "SCHEDULED"})["id"]
        return run

    def state(self, run: str) -> Any:
        return self.post("/flow_runs/filter", flow_runs={"id": {"any_": [run]}})[0]["state"]

    def wait_until_final(self, run: str, timeout_s: float = 180) -> Any:
        final = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        wait_for(lambda: self.state(run)["type"] in final, timeout_s)
        return self.state(run)


@pytest.fixture
def server(tiny: Path) -> Iterator[Server]:
    port = free_port()
    log = tiny / "work" / "ui.log"
    log.parent.mkdir(exist_ok=True)
    environment = {**processes.environment(), "SLOW": "1"}
    with log.open("wb") as output:
        command = [*SIGHTLINE, "ui", "--port", str(port), "--cron", "17 3 * * *"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    wait_for(lambda: "Ctrl-C stops all of it" in log.read_text() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    server = Server(f"http://127.0.0.1:{port}", log, process)
    wait_for(lambda: server.post("/deployments/filter"))
    yield server
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    wait_for(lambda: not processes_in(tiny), 30)


def test_a_run_is_cancelled_a_wrong_one_fails_and_new_data_is_noticed(server: Server, tiny: Path, tmp_path: Path) -> None:
    deployment = server.deployment()
    assert deployment["schedules"][0]["schedule"]["cron"] == "17 3 * * *"
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert "resnet18" in deployment["parameter_openapi_schema"]["properties"]["model"]["enum"]

    failed = server.wait_until_final(server.start_run(overrides=["tracking=none", "train.epcohs=1"]))
    assert failed["type"] == "FAILED"
    assert failed["message"] == "train.epcohs: unknown key, did you mean train.epochs?"

    run = server.start_run(overrides=["tracking=none", "train.epochs=300"])
    wait_for((tiny / "started").exists)
    stage = int((tiny / "started").read_text())
    begin = time.monotonic()
    server.post(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    wait_for(lambda: not psutil.pid_exists(stage), 60)
    assert server.wait_until_final(run)["type"] == "CANCELLED"
    assert time.monotonic() - begin < 60

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"a")
    settings = [
        "tracking=none",
        "train.epochs=1",
        "dataset=folder",
        f"dataset.path={photos}",
        f"storage.url={tmp_path / 'storage'}",
    ]
    parameters = {"overrides": settings}
    assert server.wait_until_final(server.start_run(**parameters))["message"] == "6 stages, 0 of them cached"
    assert server.wait_until_final(server.start_run(**parameters))["message"] == "6 stages, 6 of them cached"
    (photos / "b.jpg").write_bytes(b"b")
    ran = server.wait_until_final(server.start_run(**parameters))["message"]
    assert ran != "6 stages, 6 of them cached"


@pytest.mark.filterwarnings("default")
def test_a_browser_shows_the_form_the_stages_and_a_plot(server: Server, tiny: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    settings = ["tracking=none", "train.epochs=1", f"storage.url={tmp_path / 'storage'}"]
    run = server.start_run(overrides=settings)
    assert server.wait_until_final(run)["type"] == "COMPLETED"
    plots = next(item for item in server.post("/artifacts/filter") if item["key"] == "train-plots")
    flags = (
        "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags.split())
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.set_default_timeout(30_000)
        page.goto(f"{server.url}/deployments/deployment/{server.deployment()['id']}/run")
        for field in ("dataset", "model", "constraints", "experiment", "overrides"):
            expect(page.get_by_text(field, exact=False).first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("yolov8n").first).to_be_visible()
        page.goto(f"{server.url}/runs/flow-run/{run}")
        page.get_by_text("Task Runs", exact=True).first.click()
        for stage in ("config", "ingest", "fingerprint", "train", "evolve", "package", "publish"):
            expect(page.get_by_role("link", name=stage).first).to_be_visible(timeout=30_000)
        page.goto(f"{server.url}/artifacts/artifact/{plots['id']}")
        image = page.locator("img[src^='data:image/png']").first
        expect(image).to_be_visible(timeout=30_000)
        assert image.evaluate("image => image.naturalWidth") == 64
        browser.close()
