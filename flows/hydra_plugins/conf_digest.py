"""The resolver `${conf_digest:}`. Hydra imports this module by its plugin path, in `dvc exp run` and in `sightline compose`."""

from pathlib import Path

from omegaconf import OmegaConf

from tasks.conf_digest import conf_digest

CONF = Path(__file__).parents[2] / "conf"

OmegaConf.register_new_resolver("conf_digest", lambda: conf_digest(CONF), replace=True)
