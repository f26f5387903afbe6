"""The HTTP service: `POST /predict`, `GET /health`, `GET /metadata`.

One process: an event loop that reads requests, and a pool of inference threads behind a bounded queue. A full queue answers 503
at once, so that latency stays bounded. Every error is JSON: `{"error": "what was got, what was expected, the next step"}`.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sightline.allocator import keep_freed_memory
from sightline.errors import SightlineError
from sightline.pool import Answer, Pool, QueueFullError, sessions
from sightline.predictor import Predictor, read_manifest

MAX_BODY_BYTES = 16 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 30
FIELDS = ("image", "file")
HOW = "send multipart/form-data with the file in the field image, or the file as the body with Content-Type: image/jpeg"


class Service:
    """The endpoints over a pool.

    Args:
        manifest: What `GET /metadata` answers.
        predictors: One a worker, all of the same model.
        queue: How many requests may wait.
        max_body_bytes: Larger requests are refused.
    """

    def __init__(
        self, manifest: dict[str, Any], predictors: list[Predictor], queue: int, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self.manifest = manifest
        self.description = predictors[0].description
        self.facts = predictors[0].engine.facts()
        self.pool = Pool(predictors, queue)
        self.max_body_bytes = max_body_bytes
        self.app = Starlette(
            routes=[
                Route("/", self.index),
                Route("/predict", self.predict, methods=["POST"]),
                Route("/health", self.health),
                Route("/metadata", self.metadata),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _bug},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.pool.start()
        yield
        await asyncio.to_thread(self.pool.close)

    async def index(self, request: Request) -> Response:
        """What there is."""
        endpoints = {"POST /predict": HOW, "GET /health": "200 once warm", "GET /metadata": "model, measurements, lineage"}
        return JSONResponse({"name": "sightline", "version": version("sightline"), "endpoints": endpoints})

    async def health(self, request: Request) -> Response:
        """200 once every worker is warm, 503 before."""
        try:
            ready = self.pool.ready
        except Exception as error:  # noqa: BLE001  a worker that cannot run its model makes the service unhealthy
            return JSONResponse({"status": "failed", "error": str(error)}, 503)
        return JSONResponse({"status": "ok" if ready else "starting"}, 200 if ready else 503)

    async def metadata(self, request: Request) -> Response:
        """The manifest, and what runs here."""
        running = {**self.facts, "workers": len(self.pool), "queue": self.pool.size}
        return JSONResponse({**self.manifest, "running": running})

    async def predict(self, request: Request) -> Response:
        """The result for one image; `?conf=` sets a detector's threshold."""
        if self.pool.full:  # before the body is read
            return _busy(f"{self.pool.size} requests wait, which is the most: try again")
        conf = self._conf(request)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                data = await self._image(request)
            answer = await asyncio.wrap_future(self.pool.submit(data, conf))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except TimeoutError:
            raise HTTPException(408, f"no whole request after {BODY_TIMEOUT_S:.0f} s: send it faster") from None
        except QueueFullError as error:
            return _busy(str(error))
        except SightlineError as error:
            raise HTTPException(422, str(error)) from error
        return JSONResponse(answer.result, headers={"Server-Timing": _server_timing(answer)})

    def _conf(self, request: Request) -> float | None:
        text = request.query_params.get("conf")
        if text is None:
            return None
        if "scores" not in self.description.outputs:
            raise HTTPException(400, f"conf: got {text!r}, but {self.description.name} is no detector: leave conf out")
        try:
            conf = float(text)
        except ValueError:
            conf = -1.0
        if not 0 <= conf <= 1:
            raise HTTPException(400, f"conf: got {text!r}, expected a number from 0 to 1: e.g. ?conf=0.25")
        return conf

    async def _image(self, request: Request) -> bytes:
        """The encoded image of a request."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("image/") or kind == "application/octet-stream":
            data = b"".join([chunk async for chunk in self._body(request)])
        elif kind == "multipart/form-data":
            data = await self._form_file(request)
        else:
            raise HTTPException(415, f"Content-Type: got {kind or 'none'}, expected an image: {HOW}")
        if not data:
            raise HTTPException(400, f"an empty image: {HOW}")
        return data

    async def _form_file(self, request: Request) -> bytes:
        parser = MultiPartParser(request.headers, self._body(request), max_files=1, max_fields=10)
        parser.spool_max_size = self.max_body_bytes  # stays in memory: a container's file system may be read-only
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, f"broken form ({error.message}): {HOW}") from error
        try:
            for name in FIELDS:
                file = form.get(name)
                if isinstance(file, UploadFile):
                    return await file.read()
                if file is not None:
                    raise HTTPException(400, f"field {name} is text, expected a file: with curl, -F {name}=@photo.jpg")
        finally:
            await form.close()
        raise HTTPException(400, f"fields: got {', '.join(form) or 'none'}, expected image: {HOW}")

    async def _body(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The request's body, up to the limit."""
        declared = int(request.headers.get("content-length", 0))
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if max(received, declared) > self.max_body_bytes:
                size = f"{max(received, declared)} bytes or more, expected at most {self.max_body_bytes}"
                raise HTTPException(413, f"a request of {size}: send a smaller image")
            yield chunk


def run(folder: Path, host: str, port: int, workers: int | None, queue: int) -> None:
    """Serves a packaged folder until it is stopped; what is under way is answered first.

    Args:
        folder: What `package` wrote.
        host: The address to listen on.
        port: 0 takes a free one.
        workers: Inferences at a time; None: the streams of the candidate.
        queue: Requests that may wait.

    Raises:
        SightlineError: The folder holds no package that runs here, or the address is taken.
    """
    keep_freed_memory()
    manifest = read_manifest(folder)
    first = Predictor(folder)
    workers = workers or sessions(first.engine)
    service = Service(manifest, [first, *(Predictor(folder) for _ in range(workers - 1))], queue)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise SightlineError(f"{host}:{port}: {reason}: choose another --host or --port") from error
    config = uvicorn.Config(
        service.app,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    name, task = service.description.name, service.description.task
    where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    print(f"{name} ({task}) on {manifest['candidate']}, {workers} workers, at {where}; Ctrl-C stops it", flush=True)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _server_timing(answer: Answer) -> str:
    """The header of https://www.w3.org/TR/server-timing/, in ms."""
    parts = {"queue": answer.queue_ms} | {key.removesuffix("_ms"): value for key, value in asdict(answer.timings).items()}
    return ", ".join(f"{name};dur={duration:.3f}" for name, duration in parts.items())


def _busy(message: str) -> Response:
    return JSONResponse({"error": message}, 503, {"Retry-After": "1"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in (404, 405):
        message = f"{request.method} {request.url.path}: {message}: GET / lists the endpoints"
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error: the service's log has the details"}, 500)
