"""What a YOLO dataset says of itself: data.yaml, or a list of class names; untrusted, so nothing in it is run or followed."""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tasks.findings import Finding, finding

MAX_BYTES: Final = 2**18
"""Of data.yaml and of a list of names."""
MAX_CLASSES: Final = 10_000
NAME_FILES: Final = ("classes.txt", "obj.names", "names.txt", "_darknet.labels")
_MAX_DEPTH: Final = 16
_LOOKED_AT: Final = 5  # YAML files at the top: a hostile one takes seconds
_COMPARED: Final = 100  # lists of names, where labelling tools left several
_HALF: Final = re.compile("[\ud800-\udfff]")  # of a character beyond the first 65,536; an escape may stand for one
_KEYS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The split of each key of data.yaml."""


@dataclass(frozen=True)
class Description:
    """What the dataset says of itself.

    Attributes:
        names: The classes in the order of their ids; empty where they are not known.
        folders: The split of each folder that data.yaml names, relative to the top; empty is the top itself.
        lists: The files with image paths that it names, with their splits.
        keypoints: Columns of keypoints after each box.
        findings: What is wrong with it; an error means the whole dataset.
    """

    names: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    lists: Sequence[tuple[str, str]] = ()
    keypoints: int = 0
    findings: Sequence[Finding] = ()


def describe(top: Path, files: Collection[str]) -> Description:
    """Reads data.yaml, and the names where it has none.

    Args:
        top: The folder of the dataset.
        files: All files in it but the labels of images, relative to `top`.
    """
    name, data, findings = _find_yaml(top, files)
    names, problem = _names_of(data)
    if not (names or problem):
        names, problem, name = _read_names(top, files)
    if problem:
        findings.append(finding("yolo.names", f"{name}: {problem}"))
    elif not names:
        names = _counted(data)
        got = f"nc: {len(names)} without names" if names else "neither data.yaml with names nor classes.txt"
        findings.append(finding("yolo.no_names", got))
    if data.get("download"):
        findings.append(finding("yolo.download", "a key download", name))
    folders, lists, told = _splits(data, name, files)
    keypoints = _keypoints(data.get("kpt_shape"))
    if keypoints:
        findings.append(finding("yolo.keypoints", f"kpt_shape: {data['kpt_shape']}", name))
    return Description(names, folders, lists, keypoints, (*findings, *told))


def _find_yaml(top: Path, files: Collection[str]) -> tuple[str, dict[str, Any], list[Finding]]:
    """The first YAML file at the top that describes a dataset; where there is none, what is wrong with the first."""
    found = [name for name in files if "/" not in name and name.endswith((".yaml", ".yml"))]
    wrong: list[Finding] = []
    for name in sorted(found, key=lambda each: (not each.startswith("data."), each))[:_LOOKED_AT]:
        data, problem = load_yaml(top / name, name)
        if problem:
            wrong.append(problem)
        elif isinstance(data, dict) and not data.keys().isdisjoint(("names", "nc", *_KEYS)):
            return name, data, []
    return "data.yaml", {}, wrong[:1]


class _Loader(yaml.BaseLoader):
    """Mappings, lists and text alone: no tag makes an object, and `no` stays text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(problem="a key twice", problem_mark=node.start_mark)
        return mapping


def load_yaml(path: Path, name: str) -> tuple[Any, Finding | None]:
    """Lists, mappings and text of a small YAML file without aliases; or what is wrong with it."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            return None, finding("yolo.yaml", f"{name}: more than {MAX_BYTES} bytes")
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):  # before anything is composed of it
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                return None, finding("yolo.yaml", f"{name}: an alias, *{str(event.anchor)[:60]}")
            if isinstance(event, yaml.ScalarEvent) and _HALF.search(event.value):
                return None, finding("yolo.yaml", f"{name}: half a character, {event.value[:60]!r}")
            if depth > _MAX_DEPTH:
                return None, finding("yolo.yaml", f"{name}: more than {_MAX_DEPTH} levels")
        return _Loader(text).get_single_data(), None
    except (yaml.YAMLError, ValueError, OverflowError, OSError) as error:  # ValueError: an escape of no character
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or type(error).__name__
        return None, finding("yolo.yaml", f"{name}:{mark.line + 1}: {what}" if mark else f"{name}: {what}")


def _names_of(data: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The names in data.yaml, or what is wrong with them."""
    given = data.get("names")
    if not given:
        return (), ""
    if isinstance(given, dict):
        ids = {str(key): name for key, name in given.items()}
        missing = next((number for number in range(len(ids)) if str(number) not in ids), None)
        if missing is not None:
            return (), f"names without {missing}, and {len(ids)} of them"
        given = [ids[str(number)] for number in range(len(ids))]
    if not isinstance(given, list):
        return (), f"names: {str(given)[:60]!r}, no list and no mapping"
    if problem := _check_names(given):
        return (), f"names: {problem}"
    count = data.get("nc")
    if count and count != str(len(given)):
        return (), f"nc: {str(count)[:60]}, and {len(given)} names"
    return tuple(given), ""


def _check_names(names: Sequence[Any]) -> str:
    """What is wrong with class names; empty if nothing."""
    if len(names) > MAX_CLASSES:
        return f"{len(names)} of them, at most {MAX_CLASSES}"
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            return f"class {number} is {str(name)[:60]!r}"
        if seen.setdefault(name, number) != number:
            return f"{name[:60]!r} for {seen[name]} and {number}"
    return ""


def _counted(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids as names, where data.yaml says how many classes there are."""
    count = str(data.get("nc"))
    return tuple(map(str, range(int(count)))) if count.isdecimal() and len(count) < 6 and int(count) <= MAX_CLASSES else ()


def _read_names(top: Path, files: Collection[str]) -> tuple[tuple[str, ...], str, str]:
    """The names in the list nearest to the top, or what is wrong with it; and the list."""
    found = sorted(
        (name for name in files if name.rpartition("/")[2] in NAME_FILES),
        key=lambda each: (each.count("/"), NAME_FILES.index(each.rpartition("/")[2]), each),
    )
    if not found:
        return (), "", ""
    try:
        text = _read_text(top / found[0])
        other = next((name for name in found[1:_COMPARED] if _read_text(top / name).split() != text.split()), None)
    except (OSError, ValueError) as error:
        return (), f"{type(error).__name__}, expected UTF-8 text of at most {MAX_BYTES} bytes", found[0]
    if other:
        return (), f"other names than in {other}", found[0]
    names = [line.strip() for line in text.rstrip().splitlines()]
    if problem := _check_names(names):
        return (), problem, found[0]
    return tuple(names), "", found[0]


def _read_text(path: Path) -> str:
    """A small UTF-8 text, with or without a byte-order mark."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(path)
    return data.decode("utf-8-sig")


def _keypoints(shape: Any) -> int:
    """Columns of `kpt_shape`: [points, values of each]."""
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(each, str) and each.isdecimal() for each in shape):
        return 0
    points, values = (min(int(each[:6]), 10_000) for each in shape)
    return points * values


def _splits(
    data: Mapping[str, Any], name: str, files: Collection[str]
) -> tuple[dict[str, str], list[tuple[str, str]], list[Finding]]:
    """The folders and list files that data.yaml names, with their splits; paths are compared, never followed."""
    known = {above for folder in {file.rpartition("/")[0] for file in files} for above in (folder, *parents(folder))}
    folders: dict[str, str] = {}
    lists: list[tuple[str, str]] = []
    findings: list[Finding] = []
    base = str(data.get("path") or "")
    if base and _inside(base) is None:
        findings.append(finding("yolo.path_outside", f"path: {_shown(base)}", name))
    for key, split in _KEYS.items():
        given = data.get(key) or []
        for entry in given if isinstance(given, list) else [given]:
            text = str(entry).strip()
            candidates = [_inside(posixpath.join(base, text)), _inside(text), _inside(text.removeprefix("../"))]
            inside = [each for each in candidates if each is not None]
            place = next((each for each in inside if each in known or (each.endswith(".txt") and each in files)), None)
            if place is None:
                code = "yolo.path_missing" if inside else "yolo.path_outside"
                findings.append(finding(code, f"{key}: {_shown(text)}", name))
            elif place not in known:
                lists.append((place, split))
            elif folders.setdefault(place, split) != split:
                findings.append(finding("yolo.split_overlap", f"{_shown(text)} for {folders[place]} and {split}", name))
    for place, split in folders.items():
        above = next((folder for folder in parents(place) if folders.get(folder, split) != split), None)
        if above is not None:
            findings.append(finding("yolo.split_overlap", f"{place} for {split} in {above or '.'} for {folders[above]}", name))
    return folders, lists, findings


def parents(name: str) -> list[str]:
    """The folders that hold a file or folder, the nearest first; the last is empty, the top."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)] if name else []


def _inside(text: str) -> str | None:
    """A path relative to the top and below it, or None; empty is the top itself."""
    plain = posixpath.normpath(text.replace("\\", "/"))
    if plain.startswith(("/", "../")) or plain == ".." or plain[1:2] == ":":
        return None
    return "" if plain == "." else plain


def _shown(text: str) -> str:
    """The beginning of a text in one line."""
    return " ".join(text[:200].split())
