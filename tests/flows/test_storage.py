"""Local and S3 storage: DVC's remote and publishing, against moto's server over a socket."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_project import commit, dvc, prepare, shell

from flows import dataset_versions, publish, storage
from flows.server import free_port
from sightline.errors import SightlineError
from tasks.schema import Storage

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own use of pygtrie
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 service with the bucket `models`."""
    import boto3
    from moto.server import ThreadedMotoServer

    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="models")
    yield endpoint
    server.stop()


def reproduce() -> None:
    done = dvc("repro")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_default_remote_lies_beside_the_project(tiny: Path) -> None:
    storage.configure()
    assert not (tiny / ".dvc" / "config.local").exists()
    reproduce()
    done = dvc("push")
    assert done.returncode == 0, done.stderr
    assert (tiny.parent / "sightline-storage" / "dvc" / "files").is_dir()


def test_other_local_settings_are_kept(tiny: Path) -> None:
    (tiny / ".dvc" / "config.local").write_text("[cache]\n    type = copy\n")
    prepare("storage.url=../elsewhere")
    storage.configure()
    assert dvc("config", "cache.type").stdout.strip() == "copy"
    assert "../../elsewhere/dvc" in (tiny / ".dvc" / "config.local").read_text()
    prepare()
    storage.configure()
    assert dvc("config", "cache.type").stdout.strip() == "copy"
    assert "elsewhere" not in (tiny / ".dvc" / "config.local").read_text()


def test_published_twice_is_copied_once(tiny: Path) -> None:
    reproduce()
    first, second = publish.publish(), publish.publish()
    assert first.is_new
    assert not second.is_new
    versions = list((tiny.parent / "sightline-storage" / "service").iterdir())
    assert len(versions) == 1
    assert (versions[0] / "manifest.json").read_bytes() == (tiny / "dist/service/manifest.json").read_bytes()


def test_a_dataset_s_versions_follow_its_content_and_are_never_overwritten(tiny: Path) -> None:
    reproduce()
    folder = tiny.parent / "sightline-storage" / "datasets" / "traffic"
    assert publish.publish().lines[2].endswith("datasets/traffic/v1")
    assert publish.publish().lines[2].startswith("dataset there already:")
    before = (folder / "v1" / "dataset_metadata.json").read_bytes()
    report = tiny / "reports" / "fingerprint"
    metadata = report / "dataset_metadata.json"
    metadata.write_text(metadata.read_text().replace("c0ffee", "decade"))
    place = storage.read()
    assert dataset_versions.publish(report, "traffic", place) == (f"{place.url}/datasets/traffic/v2", True)
    assert dataset_versions.publish(report, "traffic", place) == (f"{place.url}/datasets/traffic/v2", False)
    assert (folder / "v1" / "dataset_metadata.json").read_bytes() == before


def test_a_version_whose_publisher_failed_is_completed(tmp_path: Path) -> None:
    report = tmp_path / "report"
    (report / "plots").mkdir(parents=True)
    (report / "dataset_metadata.json").write_text('{"content_hash": "c0ffee"}')
    (report / "plots/sizes.png").write_bytes(b"picture")
    place = Storage(name="local", url=str(tmp_path / "storage"), endpoint_url=None)
    assert dataset_versions.publish(report, "traffic", place)[1]
    folder = tmp_path / "storage/datasets/traffic/v1"
    (folder / "plots/sizes.png").unlink()
    assert dataset_versions.publish(report, "traffic", place) == (str(folder), False)
    assert (folder / "plots/sizes.png").read_bytes() == b"picture"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_metadata_that_cannot_be_read_are_one_clear_line(data: bytes, tmp_path: Path) -> None:
    report, folder = tmp_path / "report", tmp_path / "storage/datasets/traffic/v1"
    for each in (report, folder):
        each.mkdir(parents=True)
    place = Storage(name="local", url=str(tmp_path / "storage"), endpoint_url=None)
    (report / "dataset_metadata.json").write_text('{"content_hash": "c0ffee"}')
    (folder / "dataset_metadata.json").write_bytes(data)
    with pytest.raises(SightlineError, match=r"v1/dataset_metadata.json: no metadata of a dataset"):
        dataset_versions.publish(report, "traffic", place)
    (report / "dataset_metadata.json").write_bytes(data)
    with pytest.raises(SightlineError, match=r"report/dataset_metadata.json: no metadata of a dataset"):
        dataset_versions.publish(report, "traffic", place)


def test_nothing_packaged_is_one_clear_line(tiny: Path) -> None:
    with pytest.raises(SightlineError, match=r"dist/service/manifest.json: not there, nothing to publish: run `dvc repro`"):
        publish.publish()


def test_a_package_of_an_earlier_run_is_not_published(tiny: Path) -> None:
    reproduce()
    prepare("train.lr0=0.5")
    with pytest.raises(SightlineError, match=r"dist/service: of an earlier run, .*: run `dvc repro` first"):
        publish.publish()
    assert not (tiny.parent / "sightline-storage" / "service").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # aiobotocore's and moto's own
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_s3_bucket_holds_what_a_second_clone_pulls(tiny: Path, s3: str, tmp_path: Path) -> None:
    import s3fs

    settings = ["storage=s3", "storage.url=s3://models/x", f"storage.endpoint_url={s3}"]
    prepare(*settings)
    reproduce()
    commit(tiny)
    first, second = publish.publish(), publish.publish()
    assert first.is_new
    assert not second.is_new
    bucket = s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True)
    assert [path.rpartition("/")[2] for path in bucket.find("models/x/service")] == ["manifest.json", "model.onnx"]
    assert "models/x/datasets/traffic/v1/dataset_metadata.json" in bucket.find("models/x/datasets")

    clone = tmp_path / "clone"
    assert shell("git", "clone", "-q", str(tiny), str(clone)).returncode == 0
    shutil.copy(tiny / ".dvc" / "config.local", clone / ".dvc" / "config.local")
    pulled = dvc("pull", cwd=clone)
    assert pulled.returncode == 0, pulled.stderr
    again = dvc("repro", cwd=clone)
    assert "Running stage" not in again.stdout + again.stderr
    assert again.returncode == 0, again.stderr


def test_an_unreachable_endpoint_is_one_clear_line_at_once(tiny: Path) -> None:
    port = free_port()
    prepare("storage=s3", "storage.url=s3://models/x", f"storage.endpoint_url=http://127.0.0.1:{port}")
    (tiny / "dist/service").mkdir(parents=True)
    (tiny / "dist/service/manifest.json").write_text("{}")
    with pytest.raises(SightlineError, match=rf"storage.endpoint_url: http://127.0.0.1:{port} does not answer"):
        publish.publish()
