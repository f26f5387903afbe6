"""The model registry: a version for each package, in MLflow."""

from pathlib import Path

from tasks import trackers
from tasks.trackers import _mlflow
from tasks.trackers._pipeline import pipeline_of
from tasks.trackers._record import Pipeline, flatten
from tasks.trackers.mlflow import pipeline_run

CHAMPION = "champion"
MANIFEST, SOURCE = "sightline.manifest_sha256", "sightline.source"


def register(name: str, folder: Path, manifest_sha256: str, source: str) -> str:
    """Registers a package under the alias `champion`, once for each manifest.

    Args:
        name: The registered model's name.
        folder: The package; its files become artifacts of the pipeline's run.
        manifest_sha256: What tells one package from another.
        source: Where the package was published to; a tag.

    Returns:
        What was done, for people.

    Raises:
        SightlineError: The server does not answer.
    """
    tracking = trackers.read_settings()
    if not tracking.mlflow:
        return "not registered: tracking.mlflow=false"
    trackers.finish()
    with _mlflow.connect(_mlflow.target(tracking.uri, tracking.experiment)) as store:
        client = store.client
        known = {version.tags.get(MANIFEST): version for version in client.search_model_versions(f"name='{name}'")}
        version = known.get(manifest_sha256)
        if version is not None:
            client.set_registered_model_alias(name, CHAMPION, version.version)
            return f"registered already: {name} version {version.version}, alias {CHAMPION}"
        pipeline = pipeline_of()
        run = pipeline_run(store, Pipeline(**{**pipeline, "params": flatten(pipeline["params"])}))
        client.log_artifacts(run.info.run_id, str(folder), "package")
        if not known and not client.search_registered_models(f"name='{name}'"):
            client.create_registered_model(name)
        tags = {MANIFEST: manifest_sha256, SOURCE: source}
        version = client.create_model_version(name, f"{run.info.artifact_uri}/package", run.info.run_id, tags)
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return f"registered: {name} version {version.version}, alias {CHAMPION}"
