import json
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
from graphs import jpeg
from PIL import Image

from sightline import cli
from sightline.errors import AnswerIsNo, SightlineError


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The verbs as an environment without the checkout has them, and some made for a test."""
    found = [
        EntryPoint("serve", "sightline.cli:serve", cli.GROUP),
        EntryPoint("predict", "sightline.cli:predict", cli.GROUP),
        EntryPoint("run", "no_such_package.cli:run", cli.GROUP),
        EntryPoint("ui", "json.no_such_module:ui", cli.GROUP),
        EntryPoint("refuse", f"{__name__}:refuse", cli.GROUP),
    ]
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(cli, "entry_points", lambda group: found)
    monkeypatch.setattr(cli.importlib.util, "find_spec", _find_spec)
    return found


def _find_spec(name: str) -> object:
    if name.startswith("no_such_package"):
        raise ModuleNotFoundError(name)
    return None if name == "json.no_such_module" else object()


def refuse(arguments: list[str]) -> int:
    """Fails as its argument says."""
    errors = {"no": AnswerIsNo("nothing valid"), "wrong": SightlineError("bad input"), "stop": KeyboardInterrupt()}
    if arguments[0] in errors:
        raise errors[arguments[0]]
    return int(arguments[0])


@pytest.mark.parametrize(("argument", "code"), [("no", 1), ("wrong", 2), ("stop", 130), ("0", 0), ("7", 7)])
def test_exit_codes(verbs: list[EntryPoint], capsys: pytest.CaptureFixture[str], argument: str, code: int) -> None:
    assert run("refuse", argument) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_mistake_is_one_line(verbs: list[EntryPoint], capsys: pytest.CaptureFixture[str]) -> None:
    run("refuse", "wrong")
    assert capsys.readouterr().err == "sightline: bad input\n"


@pytest.mark.parametrize("verb", ["run", "ui"])
def test_a_verb_of_the_pipeline_needs_a_checkout(
    verbs: list[EntryPoint], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert run(verb) == 2
    assert capsys.readouterr().err.startswith(f"sightline: {verb} needs a checkout: ")


def test_help_works_without_the_checkout(verbs: list[EntryPoint], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    own, pipeline = capsys.readouterr().out.split("The pipeline")
    assert "serve      Starts the HTTP service of a packaged folder." in own
    assert "predict    Runs a packaged folder on image files." in own
    assert "run        needs a checkout" in pipeline
    assert "refuse     Fails as its argument says." in pipeline


def test_every_verb_of_the_checkout_has_one_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert {line.split()[0] for line in lines} == {verb.name for verb in cli.entry_points(group=cli.GROUP)}
    assert all(len(line.split()) > 2 and len(line) <= 120 for line in lines)


@pytest.mark.parametrize(("given", "hint"), [("sevre", "did you mean serve?"), ("zzz", "expected one of predict, refuse, run")])
def test_an_unknown_verb_names_the_nearest(
    verbs: list[EntryPoint], capsys: pytest.CaptureFixture[str], given: str, hint: str
) -> None:
    assert run(given) == 2
    assert hint in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"sightline {version('sightline')}\n"


def test_no_verb_is_a_wrong_command() -> None:
    assert run() == 2


@pytest.mark.parametrize("arguments", [["serve"], ["predict", "x", "y", "--conf", "2"], ["serve", "x", "--workers", "0"]])
def test_wrong_options_exit_with_2(arguments: list[str]) -> None:
    assert run(*arguments) == 2


def test_predict_prints_a_table(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "photo.png"
    image.write_bytes(jpeg((255, 0, 0), (64, 32), "PNG"))
    assert run("predict", str(detector), str(image), "--conf", "0.2") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{image}  64x32, 3 objects",
        "  score  class       x1       y1       x2       y2",
        "  0.724  red        0.0      0.0     32.0     16.0",
        "  0.224  green     16.0     16.0     48.0     32.0",
        "  0.224  blue       0.0     32.0     64.0     32.0",
    ]


def test_predict_prints_classes(classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "photo.png"
    image.write_bytes(jpeg((255, 51, 0), kind="PNG"))
    assert run("predict", str(classifier), str(image)) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["  score  class", "  1.000  red", "  0.200  green", "  0.000  blue"]


def test_predict_writes_class_maps(segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = tmp_path / "photo.png", tmp_path / "maps"
    image.write_bytes(jpeg((0, 51, 255), kind="PNG"))
    assert run("predict", str(segmenter), str(image), "--out", str(out)) == 0
    assert capsys.readouterr().out.splitlines() == [f"{image}  64x32", "  share  class", "  1.000  blue"]
    with Image.open(out / "photo.png") as class_map:
        assert class_map.size == (64, 32)
        assert class_map.getextrema() == (2, 2)


def test_class_maps_need_a_model_that_gives_them_and_names_of_their_own(
    detector: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "maps")
    assert run("predict", str(detector), "a.jpg", "--out", out) == 2
    assert "got a model for the task detect, expected semantic" in capsys.readouterr().err
    assert run("predict", str(segmenter), "a/x.jpg", "b/x.jpg", "--out", out) == 2
    assert "for b/x.jpg and an image before it" in capsys.readouterr().err
    assert not Path(out).exists()


def test_predict_gives_a_json_object_a_line(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [tmp_path / f"{name}.jpg" for name in "ab"]
    for image in images:
        image.write_bytes(jpeg((255, 0, 0)))
    assert run("predict", str(detector), "--json", *map(str, images)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == [str(image) for image in images]
    assert all(line["task"] == "detect" for line in lines)


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.jpg", "No such file or directory: name an image file"), (".", "Is a directory"), ("noise.jpg", "no image")],
)
def test_predict_names_the_image_that_is_wrong(
    detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "noise.jpg").write_bytes(b"noise")
    assert run("predict", str(detector), str(tmp_path / name)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sightline: {tmp_path / name}: ")
    assert message in error


def test_a_reader_that_stops_is_no_error(detector: Path, tmp_path: Path) -> None:
    image = tmp_path / "photo.jpg"
    image.write_bytes(jpeg((255, 0, 0)))
    command = [sys.executable, "-c", "from sightline.cli import main; main()", "predict", str(detector), *[str(image)] * 3000]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
