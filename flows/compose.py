"""Composes conf/ into params.yaml, as `dvc exp run -S` does: `python -m flows.compose [OVERRIDE ...]`.

The one file that imports Hydra.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import flows.hydra_plugins.conf_digest  # noqa: F401  registers the resolver
from sightline.errors import SightlineError
from tasks.schema import Params, parse


def compose_params(overrides: Sequence[str], root: Path = Path()) -> str:
    """The text of params.yaml for conf/ with `overrides`, validated.

    Raises:
        SightlineError: An override or a file of conf/ is wrong.
    """
    for override in overrides:
        if "${" in override:
            raise SightlineError(
                f"{override}: an interpolation, expected a value: values come from conf/, not from expressions"
            )
    try:
        with initialize_config_dir(str((root / "conf").resolve()), version_base=None):
            config = compose("config", overrides=list(overrides))
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise SightlineError("\n".join(f"{key}: missing, expected a value: set {key}=..." for key in missing))
        OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException) as error:
        message = " ".join(str(error).split())
        raise SightlineError(f"conf/ with {' '.join(overrides) or 'no overrides'}: {message}") from error
    parse(Params, OmegaConf.to_container(config), where="conf/")  # type: ignore[arg-type]
    return OmegaConf.to_yaml(config)


def write_params(overrides: Sequence[str], root: Path = Path()) -> None:
    """Writes params.yaml, whole or not at all."""
    text = compose_params(overrides, root)
    temporary = root / "params.yaml.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, root / "params.yaml")


if __name__ == "__main__":
    try:
        write_params(sys.argv[1:])
    except SightlineError as error:
        sys.exit(f"{error}")
