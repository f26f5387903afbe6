"""ingest: the source's files, as they are."""

from dataclasses import dataclass
from pathlib import Path

from sightline.errors import SightlineError
from tasks import schema, sources, stage


@dataclass(frozen=True)
class Paths:
    """`source` only says that the source changed; what is fetched is what it holds now."""

    source: Path
    out: stage.Output


class Config(schema.Section):
    dataset: schema.Dataset


def ingest(paths: Paths, config: Config) -> None:
    """Fetches `dataset` into `out`; no file is altered."""
    dataset = config.dataset
    sources.load(dataset.source).fetch(dataset, paths.out)
    if not any(path.is_file() for path in paths.out.rglob("*")):
        raise SightlineError(
            f"dataset.path: {dataset.path}: got no file, expected images and annotations: set dataset.path=..."
        )


if __name__ == "__main__":
    stage.main(ingest)
