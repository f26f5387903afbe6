"""The command `sightline`: its verbs come from the entry points `sightline.verbs`.

A verb is a function `(arguments) -> int | None`, the exit code; its docstring's first line is its help. The wheel brings
`serve` and `predict`; the others need a checkout of the project.
"""

import argparse
import base64
import difflib
import importlib.util
import json
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any

from sightline.errors import SightlineError

GROUP = "sightline.verbs"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb and exits: 0 done, 1 the answer is no, 2 the command or its input is wrong, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(_dispatch(given))
    except SightlineError as error:
        print(f"sightline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # `sightline predict ... | head`
        sys.stderr.close()
        sys.exit(128 + signal.SIGPIPE)


def _dispatch(arguments: list[str]) -> int:
    verbs = {verb.name: verb for verb in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(verbs))
        return 0 if arguments else SightlineError.exit_code
    if arguments[0] == "--version":
        print(f"sightline {version('sightline')}")
        return 0
    name = arguments[0]
    if name not in verbs:
        nearest = difflib.get_close_matches(name, verbs, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(sorted(verbs))}"
        raise SightlineError(f"{name}: no such verb: {hint}")
    if not _is_here(verbs[name]):
        raise SightlineError(f"{name} needs a checkout: clone the project and run it there; here are serve and predict")
    code = verbs[name].load()(arguments[1:])
    return int(code or 0)


def _is_here(verb: EntryPoint) -> bool:
    """Whether the module that a verb is in is installed."""
    try:
        return importlib.util.find_spec(verb.module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def _help(verbs: dict[str, EntryPoint]) -> str:
    def line(verb: EntryPoint) -> str:
        text = (verb.load().__doc__ or "").strip().splitlines()[0] if _is_here(verb) else "needs a checkout"
        return f"  {verb.name:<10} {text}"

    own = [verb for verb in verbs.values() if verb.module.startswith("sightline.")]
    pipeline = [verb for verb in verbs.values() if verb not in own]
    return "\n".join(
        [
            "usage: sightline VERB ...   (sightline VERB --help says more)",
            "",
            "A packaged model:",
            *map(line, own),
            "",
            "The pipeline, in a checkout:",
            *map(line, pipeline),
        ]
    )


def serve(arguments: list[str]) -> None:
    """Starts the HTTP service of a packaged folder."""
    parser = argparse.ArgumentParser(prog="sightline serve", description=serve.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="written by the stage package, e.g. dist/service")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=_positive,
        help="inferences at a time (default: the candidate's streams)",
    )
    parser.add_argument("--queue", type=_positive, default=128, help="requests that may wait (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        from sightline import service
    except ModuleNotFoundError as error:
        from sightline.errors import MissingExtraError

        raise MissingExtraError(str(error.name), "serve") from error
    service.run(options.folder, options.host, options.port, options.workers, options.queue)


def predict(arguments: list[str]) -> None:
    """Runs a packaged folder on image files."""
    from sightline.predictor import Predictor

    parser = argparse.ArgumentParser(prog="sightline predict", description=predict.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="written by the stage package, e.g. dist/service")
    parser.add_argument("images", type=Path, metavar="IMAGE", nargs="+")
    parser.add_argument("--conf", type=_share, help="score threshold of a detector, 0 to 1 (default: the model's)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--out", type=Path, metavar="OUT", help="folder for class maps, <image>.png (semantic segmentation)")
    options = parser.parse_args(arguments)
    predictor = Predictor(options.folder)
    if options.out:
        _make_room(options.out, options.images, predictor.description.task)
    for path in options.images:
        try:
            result = predictor(path.read_bytes(), options.conf)
        except OSError as error:
            raise SightlineError(f"{path}: {error.strerror}: name an image file") from error
        except SightlineError as error:
            raise SightlineError(f"{path}: {error}") from error
        if options.out:
            file = options.out / f"{path.stem}.png"
            file.write_bytes(base64.b64decode(result["class_map"]))
            result["class_map"] = str(file)
        print(json.dumps({"path": str(path), **result}) if options.json else _table(path, result))


def _make_room(out: Path, images: Sequence[Path], task: str) -> None:
    """Makes the folder for class maps.

    Raises:
        SightlineError: The model gives none, or two images would share a file.
    """
    if task != "semantic":
        raise SightlineError(f"--out: got a model for the task {task}, expected semantic, which gives class maps: leave it out")
    seen: set[str] = set()
    for path in images:
        if path.stem in seen:
            raise SightlineError(f"--out: {out / path.stem}.png for {path} and an image before it: name them in two commands")
        seen.add(path.stem)
    out.mkdir(parents=True, exist_ok=True)


def _table(path: Path, result: dict[str, Any]) -> str:
    """A result as lines for a terminal."""
    from sightline import postprocess

    return f"{path}  {result['width']}x{result['height']}{postprocess.load(result['task']).text(result)}"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected at least 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected 0 to 1")
    return value
