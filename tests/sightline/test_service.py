"""The HTTP service: its endpoints in process, and the real server over a socket."""

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphs import jpeg, write_package

from sightline.predictor import Predictor, read_manifest
from sightline.service import Service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have httpx2, which the lock does not hold
    from starlette.testclient import TestClient

IMAGE = jpeg((255, 0, 0))


def wait_until_warm(client: httpx.Client) -> None:
    for _ in range(200):
        if client.get("/health").status_code == 200:
            return
        time.sleep(0.02)
    raise AssertionError(client.get("/health").text)


@contextmanager
def client_of(folder: Path, predictors: list[Predictor] | None = None, **settings: int) -> Iterator[TestClient]:
    service = Service(read_manifest(folder), predictors or [Predictor(folder)], settings.pop("queue", 8), **settings)
    with TestClient(service.app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(detector: Path) -> Iterator[TestClient]:
    with client_of(detector) as client:
        wait_until_warm(client)
        yield client


class TestPredict:
    @pytest.mark.parametrize(
        "request_", [{"files": {"image": IMAGE}}, {"files": {"file": IMAGE}}, {"content": IMAGE}], ids=["image", "file", "body"]
    )
    def test_answers_as_the_predictor(self, client: TestClient, detector: Path, request_: dict[str, Any]) -> None:
        headers = {"Content-Type": "image/jpeg"} if "content" in request_ else {}
        response = client.post("/predict", headers=headers, **request_)
        assert response.status_code == 200
        assert response.json() == Predictor(detector)(IMAGE)

    def test_conf(self, client: TestClient) -> None:
        found = [len(client.post(f"/predict?conf={conf}", files={"image": IMAGE}).json()["detections"]) for conf in (0, 0.5, 1)]
        assert found == [3, 1, 0]

    def test_says_how_long_each_part_took(self, client: TestClient) -> None:
        header = client.post("/predict", files={"image": IMAGE}).headers["Server-Timing"]
        assert re.findall(r"(\w+);dur=[\d.]+", header) == ["queue", "decode", "prepare", "inference", "postprocess"]

    @pytest.mark.parametrize(
        ("request_", "status", "message"),
        [
            ({"content": IMAGE}, 415, "Content-Type: got none, expected an image: send multipart/form-data"),
            ({"json": {"image": "x"}}, 415, "got application/json"),
            ({"content": b"", "headers": {"Content-Type": "image/png"}}, 400, "an empty image"),
            ({"files": {"photo": IMAGE}}, 400, "fields: got photo, expected image"),
            ({"files": {"image": b""}}, 400, "an empty image"),
            ({"files": [("image", IMAGE), ("image", IMAGE)]}, 400, "Too many files"),
            ({"data": {"image": "x"}, "files": {"other": b"y"}}, 400, "field image is text, expected a file"),
            ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "Missing boundary"),
            ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, 400, "broken form"),
            ({"files": {"image": b"noise"}}, 422, "5 bytes that are no image"),
            ({"files": {"image": IMAGE[:300]}}, 422, "broken image"),
            ({"files": {"image": IMAGE}, "params": {"conf": "2"}}, 400, "conf: got '2', expected a number from 0 to 1"),
            ({"files": {"image": IMAGE}, "params": {"conf": "nan"}}, 400, "conf: got 'nan'"),
            ({"files": {"image": IMAGE}, "params": {"conf": "high"}}, 400, "conf: got 'high'"),
        ],
    )
    def test_a_mistake_is_explained(self, client: TestClient, request_: dict[str, Any], status: int, message: str) -> None:
        response = client.post("/predict", **request_)
        assert response.status_code == status
        assert message in response.json()["error"]

    @pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    )  # starlette leaves its buffer to the collector
    def test_half_a_form_is_not_taken_for_a_whole_one(self, client: TestClient) -> None:
        head = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=a"}
        response = client.post("/predict", content=head + IMAGE, headers=headers)
        gc.collect()
        assert (response.status_code, "fields: got none" in response.json()["error"]) == (400, True)

    def test_conf_means_nothing_to_a_classifier(self, classifier: Path) -> None:
        with client_of(classifier) as client:
            response = client.post("/predict?conf=0.5", files={"image": IMAGE})
        assert (response.status_code, response.json()["error"].endswith("leave conf out")) == (400, True)

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_body_over_the_limit_is_refused(self, detector: Path, declared: bool) -> None:
        body = IMAGE + bytes(10_000)
        headers = {"Content-Type": "image/jpeg"}
        with client_of(detector, max_body_bytes=5000) as client:
            assert client.post("/predict", content=IMAGE, headers=headers).status_code == 200
            response = client.post("/predict", content=body if declared else iter([body]), headers=headers)
            assert client.post("/predict", files={"image": body}).status_code == 413
        assert response.status_code == 413
        assert "expected at most 5000" in response.json()["error"]

    def test_a_full_queue_answers_503_with_retry_after(self, detector: Path) -> None:
        gate, entered = threading.Event(), threading.Semaphore(0)

        class Gated(Predictor):
            def batch(self, files: Sequence[bytes], conf: float | None = None) -> Any:
                entered.release()
                assert gate.wait(10)
                return super().batch(files, conf)

        service = Service(read_manifest(detector), [Gated(detector)], queue=1)
        with TestClient(service.app) as client, ThreadPoolExecutor(2) as pool:
            first = pool.submit(client.post, "/predict", files={"image": IMAGE})
            assert entered.acquire(timeout=10)
            second = pool.submit(client.post, "/predict", files={"image": IMAGE})
            while not service.pool.full:
                time.sleep(0.01)
            refused = client.post("/predict", files={"image": IMAGE})
            gate.set()
            assert (first.result(10).status_code, second.result(10).status_code) == (200, 200)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "1 requests wait" in refused.json()["error"]

    def test_a_bug_is_an_internal_error_without_its_details(self, detector: Path) -> None:
        class Broken(Predictor):
            def batch(self, files: Sequence[bytes], conf: float | None = None) -> Any:
                raise ZeroDivisionError("secret")

        with client_of(detector, [Broken(detector)]) as client:
            response = client.post("/predict", files={"image": IMAGE})
        assert (response.status_code, list(response.json())) == (500, ["error"])
        assert "secret" not in response.text


def test_metadata_is_the_manifest_and_what_runs(client: TestClient, detector: Path) -> None:
    answer = client.get("/metadata").json()
    running = answer.pop("running")
    assert answer == read_manifest(detector)
    assert running["provider"] == "CPUExecutionProvider"
    assert (running["workers"], running["queue"]) == (1, 8)


def test_index_and_unknown_paths(client: TestClient) -> None:
    assert set(client.get("/").json()["endpoints"]) == {"POST /predict", "GET /health", "GET /metadata"}
    assert client.get("/nothing").json() == {"error": "GET /nothing: Not Found: GET / lists the endpoints"}
    wrong = client.get("/predict")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


def test_health_is_503_until_warm(detector: Path) -> None:
    gate = threading.Event()

    class Slow(Predictor):
        def warm_up(self, runs: int = 3) -> None:
            assert gate.wait(10)
            super().warm_up(runs)

    with client_of(detector, [Slow(detector)]) as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health").json() == {"status": "starting"}
        gate.set()
        wait_until_warm(client)
        assert client.get("/health").json() == {"status": "ok"}


def test_health_stays_503_when_a_worker_cannot_run(detector: Path) -> None:
    class Broken(Predictor):
        def warm_up(self, runs: int = 3) -> None:
            raise RuntimeError("no such instruction")

    with client_of(detector, [Broken(detector)]) as client:
        for _ in range(200):
            answer = client.get("/health")
            if answer.json()["status"] != "starting":
                break
            time.sleep(0.01)
    assert (answer.status_code, answer.json()) == (503, {"status": "failed", "error": "no such instruction"})


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`sightline serve` on a free port of loopback."""
    command = [sys.executable, "-c", "from sightline.cli import main; main()", "serve", str(folder), "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://\S+:\d+", line)
        assert match, line + (process.stderr.read() if process.stderr else "")
        with httpx.Client(base_url=match[0], timeout=20) as client:
            wait_until_warm(client)
            yield process, client
    finally:
        process.kill()
        process.communicate()


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5)


class TestServer:
    def test_answers_over_a_socket_on_loopback_alone(self, detector: Path) -> None:
        with server(detector, "--workers", "1") as (process, client):
            assert client.base_url.host == "127.0.0.1"
            assert client.post("/predict", files={"image": IMAGE}).json() == Predictor(detector)(IMAGE)
            assert process.poll() is None

    def test_many_clients_get_their_own_answers(self, detector: Path) -> None:
        images = [jpeg((100 + index, 0, 0), (32, 32), "PNG") for index in range(64)]
        with server(detector, "--workers", "2") as (_, client), ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda image: client.post("/predict", files={"image": image}).json(), images))
        scores = [answer["detections"][0]["score"] for answer in answers]
        assert scores == [pytest.approx((100 + index) / 255, abs=1e-6) for index in range(64)]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_after_what_is_under_way(self, detector: Path, number: signal.Signals) -> None:
        with server(detector) as (process, client), ThreadPoolExecutor(1) as pool:
            # A request whose body arrives after the signal.
            def slowly() -> Iterator[bytes]:
                yield IMAGE[:100]
                process.send_signal(number)
                time.sleep(0.5)
                yield IMAGE[100:]

            headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(IMAGE))}
            future = pool.submit(client.post, "/predict", content=slowly(), headers=headers)
            assert future.result(10).status_code == 200
            code = process.wait(10)
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        assert code == (130 if number == signal.SIGINT else -signal.SIGTERM)

    def test_a_large_declared_body_is_answered_at_once(self, detector: Path) -> None:
        with server(detector) as (_, client), connect(client) as connection:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 999999999\r\n\r\n"
            connection.sendall(head + b"x")
            assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")

    def test_a_client_that_leaves_is_no_error(self, detector: Path) -> None:
        with server(detector) as (process, client):
            with connect(client) as connection:
                head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n"
                connection.sendall(head + b"x")
            assert client.post("/predict", files={"image": IMAGE}).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=10)[1] == ""

    def test_a_taken_port_is_a_clear_message(self, detector: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            command = [sys.executable, "-c", "from sightline.cli import main; main()", "serve", str(detector), "--port", port]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        assert done.stderr == f"sightline: 127.0.0.1:{port}: Address already in use: choose another --host or --port\n"

    def test_a_changed_model_does_not_start(self, tmp_path: Path) -> None:
        folder = write_package(tmp_path / "package", "detect")
        (folder / "model.onnx").write_bytes(b"")
        command = [sys.executable, "-c", "from sightline.cli import main; main()", "serve", str(folder), "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "not the file that model.json describes" in done.stderr

    def test_the_answer_is_plain_json(self, detector: Path) -> None:
        with server(detector) as (_, client):
            response = client.post("/predict", files={"image": IMAGE})
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.text)["task"] == "detect"
        assert "server" not in response.headers
