"""config: fails when params.yaml is stale or invalid, before any work."""

from dataclasses import dataclass
from pathlib import Path

from sightline.errors import SightlineError
from tasks import config_checks, stage
from tasks.conf_digest import conf_digest
from tasks.schema import Params
from tasks.weights import given_file


@dataclass(frozen=True)
class Paths:
    conf: Path
    out: stage.Output


def config(paths: Paths, config: Params) -> None:
    """Writes constant text, so that an edit of conf/ that changes no value reruns this stage alone."""
    digest = conf_digest(paths.conf)
    if digest != config.conf_digest:
        raise SightlineError(
            f"params.yaml: composed from another conf/ (digest {config.conf_digest}, expected {digest}): "
            "run `sightline compose`, with your overrides if there were any"
        )
    config_checks.check(config)
    for setting in ("pretrained", "weights"):
        if getattr(config.model, setting):
            given_file(config.model, setting)
    paths.out.write_text("params.yaml is composed from conf/ and valid\n", encoding="utf-8")


if __name__ == "__main__":
    stage.main(config)
