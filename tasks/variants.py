"""Variants: files of one folder with the same interface, found by name. A name that starts with an underscore is a helper's."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Final

from sightline.errors import SightlineError

TASKS: Final = Path(__file__).parent


def names(group: str, prefix: str = "") -> list[str]:
    """The variants in the folder `group` of tasks/, sorted; those after `prefix`, where the group has helpers under it."""
    return sorted(path.stem.removeprefix(prefix) for path in (TASKS / group).glob(f"{prefix}[a-z]*.py"))


def load(group: str, name: str, setting: str) -> ModuleType:
    """The variant's module.

    Args:
        group: The folder of tasks/.
        name: The file's, without suffix.
        setting: The key of conf/ that names it.

    Raises:
        SightlineError: No such variant; the message names those that there are.
    """
    if name not in names(group):
        raise SightlineError(f"{setting}: got {name!r}, expected one of {', '.join(names(group))}")
    return importlib.import_module(f"tasks.{group}.{name}")
