"""`dvc import-url` of an S3 prefix, and the pipeline on what it brought: against moto's server over a socket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from checkout import copy_project

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
PREFIX = "s3://photos/cells"


@pytest.fixture
def s3() -> Iterator[tuple[str, Any]]:
    """The address of an S3 service with the bucket `photos`, and a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket="photos")
    yield endpoint, client
    server.stop()


def upload(client: Any, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket="photos", Key=f"cells/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_import_url_brought_is_ingested_and_validated(s3: tuple[str, Any], tmp_path: Path) -> None:
    from datasets import annotation, picture, voc

    endpoint, client = s3
    source = voc(tmp_path / "source", splits=False)
    upload(client, source)
    checkout = copy_project(tmp_path / "project")
    (tmp_path / "empty").touch()
    files = dict.fromkeys(("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"), str(tmp_path / "empty"))
    env = {**CREDENTIALS, **files, "AWS_ENDPOINT_URL": endpoint, "no_proxy": "*"}
    checkout.run(f"dvc import-url {PREFIX} photos", **env)
    assert (checkout.folder / "photos/Annotations/005.xml").read_bytes() == (source / "Annotations/005.xml").read_bytes()
    compose = "sightline compose dataset=folder dataset.path=photos tracking=none"
    checkout.run(f"{compose} && dvc repro validate", **env)
    assert len(pd.read_parquet(checkout.folder / "data/tables/images.parquet")) == 30
    assert checkout.run("git check-ignore photos").stdout.strip() == "photos"

    picture(source / "JPEGImages/030.jpg", 30)
    annotation(source / "Annotations/030.xml", [("cat", 1, 1, 20, 20)])
    upload(client, source)
    checkout.run("dvc update photos.dvc", **env)
    output = checkout.run(f"{compose} && dvc repro validate", **env).stdout
    assert {"ingest", "validate"} <= set(checkout.stages_run(output))
    assert len(pd.read_parquet(checkout.folder / "data/tables/images.parquet")) == 31
