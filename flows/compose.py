"""Composes conf/ into params.yaml, as `dvc exp run -S` does: `sightline compose [OVERRIDE ...]`.

The one file that imports Hydra.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import flows.hydra_plugins.conf_digest  # noqa: F401  registers the resolver
from sightline.errors import SightlineError
from tasks import config_checks
from tasks.schema import Constraints, Params, parse


def compose_params(overrides: Sequence[str], root: Path = Path()) -> str:
    """The text of params.yaml for conf/ with `overrides`, validated.

    Raises:
        SightlineError: An override or a file of conf/ is wrong.
    """
    config, params = _compose(overrides, root)
    config_checks.check(params, where="conf/")
    return OmegaConf.to_yaml(config)


def compose_constraints(overrides: Sequence[str], root: Path = Path()) -> Constraints:
    """The constraints of conf/ with `overrides`; which columns there are, the benchmark that they are for says.

    Raises:
        SightlineError: An override or a file of conf/ is wrong.
    """
    return _compose(overrides, root)[1].constraints


def _compose(overrides: Sequence[str], root: Path) -> tuple[DictConfig, Params]:
    """conf/ with `overrides`, each section valid by itself."""
    for override in overrides:
        if "${" in override:
            raise SightlineError(
                f"{override}: an interpolation, expected a value: values come from conf/, not from expressions"
            )
    conf = (root / "conf").resolve()
    try:
        _check(overrides, conf)
        with initialize_config_dir(str(conf), version_base=None):
            config = compose("config", overrides=list(overrides))
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise SightlineError("\n".join(f"{key}: missing, expected a value: set {key}=..." for key in missing))
        OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        message = " ".join(str(error).split())
        raise SightlineError(f"conf/ with {' '.join(overrides) or 'no overrides'}: {message}") from error
    return config, parse(Params, OmegaConf.to_container(config), where="conf/")  # type: ignore[arg-type]


def _check(overrides: Sequence[str], conf: Path) -> None:
    """Refuses choices and keys that conf/ does not have; the message names the nearest one."""
    groups = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in conf.iterdir() if folder.is_dir()}
    given = dict(override.partition("=")[::2] for override in overrides if override[:1] not in ("+", "~"))
    for group, name in given.items():
        if group in groups and name not in groups[group]:
            raise SightlineError(f"{group}: got {name}, {_hint(name, groups[group])}")
    if not given:
        return
    with initialize_config_dir(str(conf), version_base=None):
        chosen = [f"{group}={name}" for group, name in given.items() if group in groups]
        keys = [*groups, *_keys(compose("config", overrides=chosen))]
    for key in given:
        if key.lstrip("+") not in keys:
            raise SightlineError(f"{key}: unknown key, {_hint(key, keys)}{_adding(key)}")


def _adding(key: str) -> str:
    """How a bound on a column that conf/ does not list is added."""
    section, _, column = key.removeprefix("constraints.").partition(".")
    is_bound = key.startswith("constraints.") and section in ("max", "min") and column
    return f"; another column is added: '+constraints.{section}={{{column}: ...}}'" if is_bound else ""


def _hint(got: str, valid: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(got, valid, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(valid)}"


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    """Every key of a configuration, `train` and `train.lr0` alike."""
    keys = []
    for key in config:
        keys.append(prefix + str(key))
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            keys.extend(_keys(node, f"{prefix}{key!s}."))
    return keys


def write_params(overrides: Sequence[str], root: Path = Path()) -> None:
    """Writes params.yaml, whole or not at all."""
    text = compose_params(overrides, root)
    temporary = root / "params.yaml.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, root / "params.yaml")
