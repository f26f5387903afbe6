"""What the summary says of a package and a selection."""

import io
from pathlib import Path
from typing import Any

import pytest

from flows import graph, summary
from flows.graph import Stage
from sightline.contract import dump_json

SELECTION: dict[str, Any] = {
    "winner": "onnxruntime-cpu-int8",
    "objective": "p50_ms",
    "constraints": {"max": {"p50_ms": 5.0}, "min": {}},
    "candidates": [
        {"candidate": "onnxruntime-cpu-int8", "satisfies_constraints": True, "reasons": ["best p50_ms"]},
    ],
    "nearest": [],
}
MANIFEST = {
    "model": {"name": "yolov8n", "licence": "AGPL-3.0"},
    "candidate": "onnxruntime-cpu-int8",
    "test": {"mAP50": 0.5},
}


def show(folder: Path, monkeypatch: pytest.MonkeyPatch, selection: dict[str, Any], *, changed: bool) -> str:
    monkeypatch.chdir(folder)
    outs = {"select": Path("reports/select"), "package": Path("dist/service")}
    for path in outs.values():
        path.mkdir(parents=True)
    (outs["select"] / "selection.json").write_text(dump_json(selection))
    (outs["package"] / "manifest.json").write_text(dump_json(MANIFEST))
    monkeypatch.setattr(graph, "read", lambda: [Stage(name, (), (out,), changed) for name, out in outs.items()])
    stream = io.StringIO()
    summary.show(stream)
    return stream.getvalue()


def test_a_package_is_shown_with_how_to_start_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = show(tmp_path, monkeypatch, SELECTION, changed=False)
    assert "Service" in text
    assert "sightline serve dist/service" in text
    assert "Winner: onnxruntime-cpu-int8" in text
    assert "earlier run" not in text


@pytest.mark.parametrize(
    ("more", "words"), [({}, "on val"), ({"gate_images": 4.0}, "on the 4 images of val that its final fit did not see")]
)
def test_what_the_champion_was_judged_on_is_said(
    more: dict[str, float], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = Path("reports/evolve")
    report.mkdir(parents=True)
    (report / "metrics.json").write_text(dump_json({"mAP50": 0.7, **more}))
    monkeypatch.setattr(graph, "read", lambda: [Stage("evolve", (), (report,), changed=False)])
    stream = io.StringIO()
    summary.show(stream)
    assert f"Champion  mAP50 0.700 {words}" in stream.getvalue()


def test_of_an_earlier_runs_package_it_says_so_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {
        **SELECTION,
        "winner": None,
        "candidates": [{"candidate": "onnxruntime-cpu-int8", "satisfies_constraints": False, "reasons": ["p50_ms 7.0"]}],
        "nearest": ["onnxruntime-cpu-int8: p50_ms 7.0 is above 5.0: set constraints.max.p50_ms=7.0"],
    }
    text = show(tmp_path, monkeypatch, nobody, changed=True)
    assert "of an earlier run: `dvc repro` first" in text
    assert f"Winner: none: no candidate meets the constraints; nearest: {nobody['nearest'][0]}" in text
    assert "Service" not in text
    assert "sightline serve" not in text
