"""The model registry: versions v1, v2, ... in MLflow, of which one at most is the champion.

A new version is the challenger. It becomes the champion where there is none, or where it is better on the same test images by
more than the noise (`tasks.noise`). `sightline promote` asks again, or is told with --force; `sightline rollback` goes back.
The registered model's tag `sightline.champions` is the log of it all. Who publishes twice changes nothing.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.contract import MANIFEST_FILE, sha256_of
from sightline.errors import SightlineError
from tasks import trackers
from tasks.noise import noise
from tasks.trackers import _mlflow
from tasks.trackers._pipeline import pipeline_of
from tasks.trackers._record import Pipeline, flatten
from tasks.trackers.mlflow import pipeline_run

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
MANIFEST, SOURCE, TEST, DECISION, LOG = (
    f"sightline.{name}" for name in ("manifest_sha256", "source", "test", "decision", "champions")
)
"""Tags: of a version its manifest, where it was published to, its fitness on test, and what was decided; of a model the log."""
LOG_ENTRIES: Final = 60  # as many as a tag holds


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes the champion, and why."""

    is_champion: bool
    reason: str


def register(name: str, folder: Path, source: str) -> str:
    """Registers a package as the challenger, once for each manifest, and promotes it where the rule says so.

    Args:
        name: The registered model's name.
        folder: The package; its files become artifacts of the pipeline's run.
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
        registry, digest = Registry(store, name), sha256_of(folder / MANIFEST_FILE)
        known = next((version for version in registry.known() if version.tags.get(MANIFEST) == digest), None)
        if known is not None and DECISION in known.tags:
            return f"registered already: {name} v{known.version}{registry.alias_of(known.version)}"
        version = str(known.version) if known is not None else registry.add(folder, digest, source)
        registry.challenge(version)
        return f"registered: {registry.apply(version, registry.judge(version)).reason}"


def promote(name: str, version: str | None, is_forced: bool) -> Decision:
    """Makes a version the champion: where the rule says so, or where it is forced.

    Args:
        name: The registered model's.
        version: Its number; the challenger's where it is None.
        is_forced: Whether to ask no rule.

    Raises:
        SightlineError: No such version, or the server does not answer.
    """
    with _open() as store:
        registry = Registry(store, name)
        chosen = registry.find(version)
        if registry.aliases().get(CHAMPION) == chosen:
            return Decision(True, f"{name} v{chosen} is the champion already")
        return registry.apply(chosen, Decision(True, "forced") if is_forced else registry.judge(chosen))


def rollback(name: str) -> str:
    """Makes the version the champion that was it before; returns what was done, for people.

    Raises:
        SightlineError: There was none, or the server does not answer.
    """
    with _open() as store:
        registry = Registry(store, name)
        current, earlier = registry.aliases().get(CHAMPION), registry.earlier()
        if current is None or earlier is None:
            now = f"v{current}" if current else "now"
            raise SightlineError(f"{name}: got no champion before {now}, expected one to go back to")
        registry.crown(earlier, "rollback")
        registry.note(current, f"rolled back to v{earlier}")
        return f"{name} v{earlier} is the champion again, v{current} no more"


def describe(name: str) -> list[str]:
    """A line a version, the newest first: its aliases and what was decided of it.

    Raises:
        SightlineError: There is none, or the server does not answer.
    """
    with _open() as store:
        registry = Registry(store, name)
        return [
            f"{name} v{each.version}{registry.alias_of(each.version)}: {each.tags.get(DECISION, 'nothing decided yet')}"
            for each in registry.versions()
        ]


def _open() -> AbstractContextManager[_mlflow.Store]:
    tracking = trackers.read_settings()
    if not tracking.mlflow:
        raise SightlineError("tracking.mlflow: got false, expected true: the registry is MLflow's: set tracking=mlflow")
    return _mlflow.connect(_mlflow.target(tracking.uri, tracking.experiment))


class Registry:
    """A registered model."""

    def __init__(self, store: _mlflow.Store, name: str) -> None:
        self._store, self._client, self._name = store, store.client, name

    def known(self) -> "list[ModelVersion]":
        """All versions, the newest first; none where nothing was published."""
        return sorted(self._client.search_model_versions(f"name='{self._name}'"), key=lambda each: -int(each.version))

    def versions(self) -> "list[ModelVersion]":
        """All versions, the newest first.

        Raises:
            SightlineError: There is none.
        """
        if not (found := self.known()):
            raise SightlineError(f"{self._name}: got no version, expected one: run `sightline publish`")
        return found

    def aliases(self) -> dict[str, str]:
        """The version's number of each alias."""
        found = self._client.search_registered_models(f"name='{self._name}'")
        return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}

    def alias_of(self, version: str) -> str:
        """`, champion` and the like."""
        return "".join(f", {alias}" for alias, number in self.aliases().items() if number == str(version))

    def find(self, version: str | None) -> str:
        """The number of a version, `v2` or `2`; the challenger's where it is None."""
        numbers = [str(each.version) for each in self.versions()]
        if version is None:
            if CHALLENGER not in self.aliases():
                raise SightlineError(f"{self._name}: got no challenger: name a version: {_listed(numbers)}")
            return self.aliases()[CHALLENGER]
        number = version.removeprefix("v")
        if number not in numbers:
            raise SightlineError(f"{self._name}: got version {version}, expected one of {_listed(numbers)}")
        return number

    def add(self, folder: Path, digest: str, source: str) -> str:
        """A new version of the package in `folder`; returns its number."""
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        pipeline = pipeline_of()
        run = pipeline_run(self._store, Pipeline(**{**pipeline, "params": flatten(pipeline["params"])}))
        path = f"package/{digest[:12]}"
        self._client.log_artifacts(run.info.run_id, str(folder), path)
        if not self._client.search_registered_models(f"name='{self._name}'"):
            self._client.create_registered_model(self._name)
        test = {"fitness": manifest.get("test", {}).get("fitness"), **manifest.get("test_split", {})}
        tags = {MANIFEST: digest, SOURCE: source, TEST: json.dumps(test)}
        uri = f"{run.info.artifact_uri}/{path}"
        return str(self._client.create_model_version(self._name, uri, run.info.run_id, tags).version)

    def challenge(self, version: str) -> None:
        """Makes a version the challenger."""
        self._client.set_registered_model_alias(self._name, CHALLENGER, version)

    def judge(self, version: str) -> Decision:
        """Whether a version is to be the champion."""
        champion = self.aliases().get(CHAMPION)
        if champion is None:
            return Decision(True, "there was none")
        return compare(self._test(version), self._test(champion), f"v{champion}")

    def apply(self, version: str, decision: Decision) -> Decision:
        """Does what was decided, notes it, and says it in full."""
        alias = CHAMPION if decision.is_champion else CHALLENGER
        if decision.is_champion:
            self.crown(version, "promote")
            if self.aliases().get(CHALLENGER) == version:
                self._client.delete_registered_model_alias(self._name, CHALLENGER)
        self.note(version, decision.reason)
        is_alias = self.aliases().get(alias) == version
        return Decision(decision.is_champion, f"{self._name} v{version}{f', {alias}' if is_alias else ''}: {decision.reason}")

    def crown(self, version: str, how: str) -> None:
        """Makes a version the champion, and logs it."""
        entry = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "how": how, "version": version}
        log = json.dumps([*self._log(), entry][-LOG_ENTRIES:])
        self._client.set_registered_model_tag(self._name, LOG, log)
        self._client.set_registered_model_alias(self._name, CHAMPION, version)

    def note(self, version: str, text: str) -> None:
        """Notes what was decided of a version."""
        self._client.set_model_version_tag(self._name, version, DECISION, text)

    def earlier(self) -> str | None:
        """The champion before this one; those that were rolled back are none."""
        stack: list[str] = []
        for entry in self._log():
            if entry["how"] == "promote":
                stack.append(entry["version"])
            else:
                while stack and stack[-1] != entry["version"]:
                    stack.pop()
        current = self.aliases().get(CHAMPION)
        return next((version for version in reversed(stack) if version != current), None)

    def _log(self) -> list[dict[str, str]]:
        found = self._client.search_registered_models(f"name='{self._name}'")
        log: list[dict[str, str]] = json.loads(found[0].tags.get(LOG, "[]")) if found else []
        return log

    def _test(self, version: str) -> dict[str, Any]:
        test: dict[str, Any] = json.loads(self._client.get_model_version(self._name, version).tags.get(TEST, "{}"))
        return test


def compare(challenger: Mapping[str, Any], champion: Mapping[str, Any], name: str) -> Decision:
    """The rule: better on the same test images by more than the noise.

    Args:
        challenger: The manifest's `test_split`, and the `fitness` on it.
        champion: The same of the champion.
        name: What the champion is called.
    """
    if not challenger.get("hash") or challenger["hash"] != champion.get("hash"):
        return Decision(False, f"tested on other images than {name}, no comparison")
    if not (challenger["fitness_without"] and champion["fitness_without"]):
        return Decision(False, f"{challenger['images']} test images are too few to tell it from {name}")
    margin = challenger["fitness"] - champion["fitness"]
    limit = noise(challenger["fitness_without"], champion["fitness_without"])
    figures = (
        f"fitness {challenger['fitness']:.4f} on {challenger['images']} test images, {name} has {champion['fitness']:.4f}: "
        f"{margin:+.4f}, noise {limit:.4f} (95 %, paired jackknife)"
    )
    return Decision(margin > limit, figures)


def _listed(numbers: list[str]) -> str:
    return ", ".join(f"v{number}" for number in numbers)
