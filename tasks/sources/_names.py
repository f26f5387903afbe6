"""Which names of a source's files may be written below a folder."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from sightline.errors import SightlineError

JUNK: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What desktops leave beside photographs, lower case; hidden names are left out as well."""
MAX_BYTES: Final = 1024
"""Of a whole name: S3's limit of a key; the folder above it has room below Linux's PATH_MAX, 4096."""
MAX_PARTS: Final = 64
"""Folders of labels nest a few deep; `Path.mkdir` recurses once for each."""
MAX_PART_BYTES: Final = 255
"""NAME_MAX of the usual Linux file systems."""


def is_wanted(name: str) -> bool:
    """Whether a file is data: nothing hidden, nothing that a desktop left behind."""
    return not any(part.startswith(".") or part.lower() in JUNK for part in name.split("/"))


def check(names: Iterable[str], where: str) -> None:
    """Refuses names that leave their folder, that a file system does not take, or that take one another's place.

    Args:
        names: Relative, with `/` between the parts; that of a folder ends in `/`.
        where: What holds them, for the message.

    Raises:
        SightlineError: One line, for the first such name.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if problem := _problem(name):
            raise SightlineError(
                f"{where}: got the name {name[:MAX_BYTES]!r} ({problem}), expected a short relative one: "
                "rename it at the source"
            )
        key = unicodedata.normalize("NFC", name.rstrip("/")).casefold()
        is_folder = name.endswith("/")
        folders.setdefault(key if is_folder else key.rpartition("/")[0], name)
        if is_folder:
            continue
        if key in files:
            twice = "twice" if files[key] == name else f"and {files[key]!r}, which differ in letter case only"
            raise SightlineError(f"{where}: got {name!r} {twice}: expected different names: rename or remove one")
        files[key] = name
    for folder, name in folders.items():
        for end, character in enumerate(f"{folder}/"):
            if character == "/" and (file := files.get(folder[:end])):
                raise SightlineError(
                    f"{where}: got {file!r} as a file and, in {name!r}, as a folder: expected one of the two: rename one"
                )


def _problem(name: str) -> str:
    """What is wrong with a name; empty if nothing."""
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "absolute"
    if ".." in parts:
        return "leaves its folder"
    if "" in parts or "." in parts:
        return "has an empty part"
    if "\\" in name:
        return "has a backslash"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "has control characters or is not Unicode"
    if len(name.encode()) > MAX_BYTES:
        return f"has more than {MAX_BYTES:,} bytes"
    if len(parts) > MAX_PARTS:
        return f"has more than {MAX_PARTS} parts"
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"has a part of more than {MAX_PART_BYTES} bytes"
    return ""
