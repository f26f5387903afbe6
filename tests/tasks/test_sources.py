"""Every source through one contract, then each with what it must refuse."""

import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_scan import close

from sightline.errors import SightlineError
from tasks import download, schema, sources
from tasks.sources import _archive, _names, http

ROOT = Path(__file__).parents[2]
FILES = {"Annotations/a.xml": b"<a/>", "JPEGImages/a.jpg": b"\xff\xd8\xff" * 40, "JPEGImages/b.jpg": b"other"}
JUNK = {".git/config": b"x", "JPEGImages/Thumbs.db": b"x", "JPEGImages/.DS_Store": b"x"}


def config(source: str, path: object = None, **values: Any) -> schema.Dataset:
    given = {"name": "test", "source": source, "format": "auto", "path": None if path is None else str(path), "sha256": None}
    return schema.Dataset.model_validate({**given, "images": 10, "width": 64, "height": 64, "seed": 0, **values})


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pack(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refuses(given: schema.Dataset, out: Path, *words: str) -> None:
    """One line with these words, and nothing written."""
    with pytest.raises(SightlineError) as caught:
        sources.load(given.source).fetch(given, out)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not out.exists()
    assert [path.name for path in out.parent.glob("download-*")] == []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "out"


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


Serve = Callable[[type[BaseHTTPRequestHandler] | Callable[..., BaseHTTPRequestHandler]], str]


@pytest.fixture
def serve(loopback: None) -> Iterator[Serve]:
    """Starts a web server with a handler; returns its address."""
    servers = []

    def start(handler: Callable[..., BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_url: str, loopback: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket `photos`, with the credentials in the environment."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    if system.exists("photos"):
        system.rm("photos", recursive=True)
    system.mkdir("photos")
    return system


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=["folder", "zip", "http", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], schema.Dataset]:
    """Puts files where a source has them; returns its configuration."""
    place = tmp_path / "place"

    def folder(files: dict[str, bytes]) -> schema.Dataset:
        shutil.rmtree(place, ignore_errors=True)
        return config("folder", write(place, files))

    def zipped(files: dict[str, bytes]) -> schema.Dataset:
        place.mkdir(exist_ok=True)
        return config("zip", pack(place / "d.zip", files))

    def served(files: dict[str, bytes]) -> schema.Dataset:
        digest = sha256(Path(zipped(files).path or "").read_bytes()).hexdigest()
        start: Serve = request.getfixturevalue("serve")
        return config("http", f"{start(partial(Quiet, directory=str(place)))}/d.zip", sha256=digest)

    def uploaded(files: dict[str, bytes]) -> schema.Dataset:
        system = request.getfixturevalue("bucket")
        for name, content in files.items():
            system.pipe_file(f"photos/set/{name}", content)
        return config("s3", "s3://photos/set")

    return {"folder": folder, "zip": zipped, "http": served, "s3": uploaded}[request.param]


# Every source


def test_every_source_is_tested() -> None:
    names = {path.stem for path in Path(sources.__file__).parent.glob("[a-z]*.py")}
    assert names == {"generated", "folder", "zip", "http", "s3"}


def test_the_files_arrive_as_they_are_without_junk(make: Callable[[dict[str, bytes]], schema.Dataset], out: Path) -> None:
    given = make({**FILES, **JUNK})
    sources.load(given.source).fetch(given, out)
    assert read(out) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_the_digest_is_stable_and_follows_the_content(make: Callable[[dict[str, bytes]], schema.Dataset]) -> None:
    first = sources.source_digest(make(FILES))
    assert first == sources.source_digest(make(FILES))
    assert first == sources.source_digest(make(dict(reversed(FILES.items())))) or first["source"] == "http"
    assert first["files"] == (1 if first["source"] == "http" else 3)
    changed = sources.source_digest(make({**FILES, "JPEGImages/b.jpg": b"OTHER"}))
    added = sources.source_digest(make({**FILES, "JPEGImages/c.jpg": b"more"}))
    assert len({first["digest"], changed["digest"], added["digest"]}) == 3
    assert {key: changed[key] for key in ("dataset", "source")} == {"dataset": "test", "source": first["source"]}


def test_params_alone_decide_the_generated_scenes() -> None:
    assert sources.source_digest(config("generated")) == sources.source_digest(config("generated", seed=1))


def test_an_unknown_source_is_named_with_the_known_ones() -> None:
    with pytest.raises(SightlineError, match=r"got 'ftp', expected one of folder, generated, http, s3, zip"):
        sources.load("ftp")


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../a",
        "a/../../b",
        "a/..",
        "C:/a",
        "a\\b",
        "..\\a",
        "a//b",
        "./a",
        "a\x00b",
        "a\nb",
        "a\udc80",
        "x" * 256,
        "\u00fc" * 128,
        "d/" * 64 + "a.jpg",
        "/".join(["d" * 205] * 5),
    ],
)
def test_a_name_that_must_not_be_written_is_refused(name: str) -> None:
    with pytest.raises(SightlineError, match=r"^where: got the name "):
        _names.check([name], "where")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["a.jpg", "a.jpg"], "twice"),
        (["a.jpg", "A.JPG"], "letter case"),
        (["\u00e9.jpg", "e\u0301.jpg"], "letter case"),
        (["a", "a/b"], "as a folder"),
        (["A/b", "a"], "as a folder"),
        (["a/", "a"], "as a folder"),
    ],
)
def test_names_that_take_each_other_s_place_are_refused(names: list[str], word: str) -> None:
    with pytest.raises(SightlineError, match=word):
        _names.check(names, "where")


def test_usual_names_are_taken() -> None:
    _names.check(["a/", "a/b.jpg", "a/c d (1).jpg", "\u00fc/\u732b.png", "a..b/c...jpg", "x" * 255], "where")
    _names.check(["/".join(["d" * 204] * 5), "d/" * 63 + "a.jpg", "e/" * 64], "where")


def test_a_long_name_is_refused_before_its_folders_take_memory() -> None:
    name = "a/" * 32_767 + "a"
    tracemalloc.start()
    try:
        with pytest.raises(SightlineError, match="has more than 1,024 bytes") as caught:
            _names.check([name], "where")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 << 20
    assert len(str(caught.value)) < 2000


# Folder


@pytest.mark.parametrize("name", ["bccd", "cifar10"])
def test_real_datasets_are_taken(real_data: Path, out: Path, name: str) -> None:
    given = config("folder", real_data / name)
    sources.load("folder").fetch(given, out)
    assert read(out) == read(real_data / name)
    assert sources.source_digest(given) == sources.source_digest(config("folder", out, name="test"))


def test_a_missing_folder_is_one_message(tmp_path: Path, out: Path) -> None:
    refuses(config("folder", tmp_path / "none"), out, "dataset.path", "none", "got nothing there", "expected a folder")
    (tmp_path / "file").write_text("x")
    refuses(config("folder", tmp_path / "file"), out, "got a file")


def test_a_folder_that_holds_the_outputs_is_refused(tmp_path: Path, out: Path) -> None:
    refuses(config("folder", tmp_path), out, "own outputs")


@pytest.mark.parametrize(
    ("target", "word"),
    [("../secret", "outside"), ("/etc/hostname", "outside"), ("gone", "nowhere"), ("l", "nowhere"), ("JPEGImages", "folder")],
)
def test_a_link_that_leaves_the_folder_or_misleads_is_refused(tmp_path: Path, out: Path, target: str, word: str) -> None:
    (tmp_path / "secret").write_text("x")
    root = write(tmp_path / "data", FILES)
    (root / "l").symlink_to(target)
    refuses(config("folder", root), out, "l", word)


def test_a_link_within_the_folder_becomes_a_file(tmp_path: Path, out: Path) -> None:
    root = write(tmp_path / "data", FILES)
    (root / "l.jpg").symlink_to("JPEGImages/b.jpg")
    sources.load("folder").fetch(config("folder", root), out)
    assert (out / "l.jpg").read_bytes() == b"other"
    assert not (out / "l.jpg").is_symlink()


def test_a_pipe_is_refused(tmp_path: Path, out: Path) -> None:
    root = write(tmp_path / "data", FILES)
    os.mkfifo(root / "pipe")
    refuses(config("folder", root), out, "pipe", "expected a file")


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data", FILES)
    close(root / "Annotations", monkeypatch)
    refuses(config("folder", root), out, f"{root}/Annotations: Permission denied, expected what can be read")


def test_folders_that_hold_no_data_need_not_be_readable(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data", {**FILES, "lost+found/a": b"x", ".git/config": b"x"})
    for name in ("lost+found", ".git"):
        close(root / name, monkeypatch)
    sources.load("folder").fetch(config("folder", root), out)
    assert read(out) == FILES


def test_copies_can_be_written_although_the_originals_cannot(tmp_path: Path, out: Path) -> None:
    root = write(tmp_path / "data", FILES)
    (root / "Annotations/a.xml").chmod(0o444)
    sources.load("folder").fetch(config("folder", root), out)
    assert os.access(out / "Annotations/a.xml", os.W_OK)
    assert (out / "Annotations/a.xml").stat().st_mode & stat.S_IWUSR


# ZIP


def test_a_single_folder_on_top_is_left_out(tmp_path: Path, out: Path) -> None:
    path = pack(tmp_path / "d.zip", {**{f"set/{name}": content for name, content in FILES.items()}, "__MACOSX/set/._a": b"x"})
    sources.load("zip").fetch(config("zip", path), out)
    assert read(out) == FILES


def test_a_folder_on_top_beside_a_file_stays(tmp_path: Path, out: Path) -> None:
    sources.load("zip").fetch(config("zip", pack(tmp_path / "d.zip", {"set/a": b"a", "b": b"b"})), out)
    assert read(out) == {"b": b"b", "set/a": b"a"}


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"../a": b""}, "leaves its folder"),
        ({"a/../../b": b""}, "leaves its folder"),
        ({"/etc/a": b""}, "absolute"),
        ({"C:\\a": b""}, "absolute"),
        ({"a\\..\\b": b""}, "backslash"),
        ({".hidden/../../a": b""}, "leaves its folder"),
        ({"a.jpg": b"", "A.jpg": b""}, "letter case"),
        ({"a": b"", "a/b": b""}, "as a folder"),
        ({"a/" * 32_767 + "a": b""}, "more than 1,024 bytes"),
        ({"d/" * 1500 + "a.jpg": b""}, "more than 1,024 bytes"),
        ({"d/" * 64 + "a.jpg": b""}, "more than 64 parts"),
        ({"d" * 256: b""}, "a part of more than 255 bytes"),
        ({"set/more.zip": b""}, "archive inside"),
        ({"set/more.tar.GZ": b""}, "archive inside"),
        ({"bomb.png": bytes(4 << 20)}, "bomb"),
        ({f"{index}.png": bytes(1 << 20) for index in range(4)}, "bomb"),
    ],
)
def test_a_zip_with_hostile_content_is_refused_whole(tmp_path: Path, out: Path, files: dict[str, bytes], word: str) -> None:
    path = pack(tmp_path / "d.zip", {"good.jpg": b"good", **files})
    refuses(config("zip", path), out, "d.zip", word)
    with pytest.raises(SightlineError, match=word):
        sources.source_digest(config("zip", path))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_in_a_zip_is_refused(tmp_path: Path, out: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("link.jpg")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    refuses(config("zip", tmp_path / "d.zip"), out, "link.jpg", "a link or a special file")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_twice_in_a_zip_is_refused(tmp_path: Path, out: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a.jpg", "first")
        archive.writestr("a.jpg", "second")
    refuses(config("zip", tmp_path / "d.zip"), out, "a.jpg", "twice")


def test_a_name_cut_at_a_nul_is_refused(tmp_path: Path, out: Path) -> None:
    path = pack(tmp_path / "d.zip", {"a.jpgX.sh": b"x"})
    path.write_bytes(path.read_bytes().replace(b"a.jpgX.sh", b"a.jpg\0.sh"))
    refuses(config("zip", path), out, "control characters")


def patch_entry(path: Path, offset: int, value: bytes) -> None:
    """Writes into the first entry of a ZIP's central directory (APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_zip_is_refused(tmp_path: Path, out: Path, flag: int) -> None:
    path = pack(tmp_path / "d.zip", FILES)
    patch_entry(path, 8, struct.pack("<H", flag))
    refuses(config("zip", path), out, "encrypted")


@pytest.mark.parametrize("method", [9, 12, 14, 93])
def test_another_compression_is_refused(tmp_path: Path, out: Path, method: int) -> None:
    path = pack(tmp_path / "d.zip", FILES)
    patch_entry(path, 10, struct.pack("<H", method))
    refuses(config("zip", path), out, f"compression method {method}")


def test_files_that_share_their_bytes_are_refused(tmp_path: Path, out: Path) -> None:
    path = pack(tmp_path / "d.zip", {"a.jpg": os.urandom(500), "b.jpg": os.urandom(500)})
    patch_entry(path, 20, struct.pack("<I", 600))  # the compressed size reaches into the next file
    refuses(config("zip", path), out, "overlaps")


@pytest.mark.parametrize(("limit", "value", "word"), [("MAX_FILES", 2, "split"), ("MAX_TOTAL_BYTES", 100, "split")])
def test_a_zip_over_the_limits_is_refused(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, word: str
) -> None:
    monkeypatch.setattr(_archive, limit, value)
    refuses(config("zip", pack(tmp_path / "d.zip", FILES)), out, word)


def test_a_zip_larger_than_the_disk_is_refused(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(_archive.shutil, "disk_usage", lambda _: usage._replace(free=10))  # stands for a full disk
    refuses(config("zip", pack(tmp_path / "d.zip", FILES)), out, "make room")


@pytest.mark.parametrize("size", [3, 10])
def test_a_file_that_is_not_as_long_as_declared_is_refused(tmp_path: Path, out: Path, size: int) -> None:
    path = pack(tmp_path / "d.zip", {"a.txt": b"hello"})
    patch_entry(path, 24, struct.pack("<I", size))
    with pytest.raises(SightlineError, match=r"a\.txt: (damaged|got 5 bytes)"):
        sources.load("zip").fetch(config("zip", path), out)
    assert sum(len(content) for content in read(out).values()) <= 5


def test_the_memory_of_extracting_is_not_that_of_the_files(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("large.jpg", "w") as file:
        for _ in range(150):
            file.write(b"pixels.." * 2**17)
    code = (
        "import sys; from pathlib import Path; from tasks.measure import peak_rss_mb; from tasks.sources import _archive; "
        "before = peak_rss_mb(); _archive.extract(Path(sys.argv[1]), Path(sys.argv[2]), 'zip'); print(peak_rss_mb() - before)"
    )
    command = [sys.executable, "-c", code, str(path), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 30, "MB; the file has 157"
    assert (out / "large.jpg").stat().st_size == 150 * 2**20


def test_a_name_that_the_file_system_does_not_take_is_one_message(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.zip", {"a.jpg": b"x", "/".join(["d" * 250] * 4): b"x"})
    out = tmp_path.joinpath(*["o" * 250] * 14)  # with it the name is longer than PATH_MAX
    out.parent.mkdir(parents=True)
    with pytest.raises(SightlineError, match=r"^d\.zip: d{250}/.*: got File name too long, expected"):
        _archive.extract(path, out, "d.zip")


def test_a_damaged_zip_is_one_message(tmp_path: Path, out: Path) -> None:
    path = pack(tmp_path / "d.zip", {"a.jpg": os.urandom(1000)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SightlineError, match=r"a\.jpg: damaged"):
        sources.load("zip").fetch(config("zip", path), out)
    path.write_bytes(bytes(data[:500]))
    shutil.rmtree(out)
    refuses(config("zip", path), out, "no ZIP that can be read")
    refuses(config("zip", tmp_path / "none.zip"), out, "dataset.path", "nothing there")
    refuses(config("zip", tmp_path), out, "a folder")


def test_another_checksum_is_refused(tmp_path: Path, out: Path) -> None:
    path = pack(tmp_path / "d.zip", FILES)
    refuses(config("zip", path, sha256="0" * 64), out, "SHA-256", "0" * 64)
    sources.load("zip").fetch(config("zip", path, sha256=sha256(path.read_bytes()).hexdigest()), out)
    assert read(out) == FILES


# HTTP


def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            answer(self)

    return Handler


def get(url: str) -> schema.Dataset:
    return config("http", f"{url}/d.zip?key=hidden", sha256="0" * 64)


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, out: Path, serve: Serve) -> None:
    pack(tmp_path / "d.zip", FILES)
    refuses(get(serve(partial(Quiet, directory=str(tmp_path)))), out, "/d.zip: got SHA-256", "0" * 64)


def test_the_query_stays_out_of_the_message(out: Path, serve: Serve) -> None:
    given = get(serve(answering(lambda handler: handler.send_error(404))))
    refuses(given, out, "HTTP 404")
    with pytest.raises(SightlineError) as caught:
        sources.load("http").fetch(given, out)
    assert "hidden" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_message(out: Path, loopback: None) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        started = time.monotonic()
        refuses(get(f"http://127.0.0.1:{port}"), out, "no answer", "network")
        refuses(get("http://host.invalid"), out, "no answer", "network")
        assert time.monotonic() - started < 30


def test_a_server_that_stops_answering_is_one_message(out: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"some")
        time.sleep(1)

    refuses(get(serve(answering(stall))), out, "no answer", "timed out")


def test_an_answer_that_ends_early_is_one_message(out: Path, serve: Serve) -> None:
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"some")

    refuses(get(serve(answering(short))), out, "got 4 bytes, expected 1,000", "run again")


def test_an_answer_of_unknown_length_is_limited(out: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 100)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)

    refuses(get(serve(answering(endless))), out, "more than 100 bytes")


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://host.invalid/a"])
def test_a_redirect_to_another_scheme_is_refused(out: Path, serve: Serve, target: str) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    refuses(get(serve(answering(redirect))), out, "/d.zip")


def test_a_redirect_is_followed(tmp_path: Path, out: Path, serve: Serve) -> None:
    data = pack(tmp_path / "d.zip", FILES).read_bytes()

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200 if handler.path == "/there" else 302)
        handler.send_header("Location", "/there")
        handler.end_headers()
        handler.wfile.write(data if handler.path == "/there" else b"")

    given = config("http", f"{serve(answering(redirect))}/d.zip", sha256=sha256(data).hexdigest())
    sources.load("http").fetch(given, out)
    assert read(out) == FILES


@pytest.mark.parametrize(
    ("path", "word"),
    [("file:///etc/passwd", "expected https://"), ("d.zip", "expected https://"), ("http://a:b@c/d.zip", "password")],
)
def test_an_address_that_is_none_is_refused(out: Path, path: str, word: str) -> None:
    refuses(config("http", path, sha256="0" * 64), out, "dataset.path", word)


# S3


def test_a_prefix_is_a_folder(bucket: Any, out: Path) -> None:
    for key in ("set/a.jpg", "set2/b.jpg", "set/sub/", "set/sub/c.jpg", "set.jpg"):
        bucket.pipe_file(f"photos/{key}", key.encode())
    given = config("s3", "s3://photos/set/")
    sources.load("s3").fetch(given, out)
    assert read(out) == {"a.jpg": b"set/a.jpg", "sub/c.jpg": b"set/sub/c.jpg"}
    assert sources.source_digest(given)["files"] == 2


def test_more_objects_than_are_fetched_at_once(bucket: Any, out: Path) -> None:
    files = {f"{index:03d}.jpg": str(index).encode() for index in range(150)}
    bucket.pipe({f"photos/set/{name}": content for name, content in files.items()})
    sources.load("s3").fetch(config("s3", "s3://photos"), out)
    assert read(out / "set") == files


@pytest.mark.parametrize("key", ["set/../../a.jpg", "set//a.jpg", "set/a\\b.jpg"])
def test_a_hostile_key_is_refused(s3_url: str, bucket: Any, out: Path, key: str) -> None:
    bucket.pipe_file(f"photos/{key}", b"x")
    refuses(config("s3", "s3://photos/set"), out, "s3://photos/set: got the name")


@pytest.mark.parametrize("path", ["s3://no-such-bucket/set", "s3://photos/none", "s3://photos"])
def test_a_missing_bucket_or_prefix_is_one_message(bucket: Any, out: Path, path: str) -> None:
    refuses(config("s3", path), out, path, "dataset.path")


@pytest.mark.parametrize("path", ["photos", "s3://", "https://bucket/a"])
def test_what_is_no_s3_address_is_refused(out: Path, path: str) -> None:
    refuses(config("s3", path), out, "dataset.path", "expected s3://bucket/prefix")


def test_missing_credentials_are_one_message(bucket: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refuses(config("s3", "s3://photos/set"), out, "credentials", "AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "none")
    refuses(config("s3", "s3://photos/set"), out, "profile (none)")


def test_an_unreachable_service_is_one_message_within_seconds(bucket: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        started = time.monotonic()
        refuses(config("s3", "s3://photos/set"), out, "no answer", "AWS_ENDPOINT_URL")
        assert time.monotonic() - started < 10
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no-address")
    refuses(config("s3", "s3://photos/set"), out, "AWS_ENDPOINT_URL: Invalid endpoint")
