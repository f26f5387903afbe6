"""The verbs of `sightline` that work on a dataset without the pipeline: validate, convert and diff."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.errors import SightlineError
from tasks import variants

if TYPE_CHECKING:
    from tasks.dataset_check import Checked

FINDINGS: Final = Path("work/findings")
"""Where the page of `validate` goes."""


def validate(arguments: list[str]) -> int:
    """Says what is wrong with a dataset: a folder or a ZIP."""
    parser = argparse.ArgumentParser(prog="sightline validate", description=validate.__doc__)
    parser.add_argument("path", type=Path, help="a folder or a ZIP with images and annotations")
    _add_format(parser, "--format", "its format (default: found out)", default="auto")
    _add_check(parser)
    options = parser.parse_args(arguments)
    with _access(), _check(options) as checked:
        return 1 if checked.errors else 0


def convert(arguments: list[str]) -> int:
    """Writes a dataset in another format."""
    parser = argparse.ArgumentParser(prog="sightline convert", description=convert.__doc__)
    parser.add_argument("path", type=Path, help="a folder or a ZIP, or data/dataset of the pipeline")
    parser.add_argument("out", type=Path, help="a new folder")
    _add_format(parser, "--to", "the format to write", required=True)
    _add_format(parser, "--format", "the format to read (default: found out)", default="auto")
    parser.add_argument("--link", action="store_true", help="link to the images instead of copying them")
    parser.add_argument("--lossy", action="store_true", help="go on where the format cannot hold all that the dataset holds")
    parser.add_argument("--validate", action="store_true", help="validate it first, and write it only where there is no error")
    _add_check(parser)
    options = parser.parse_args(arguments)
    if not options.validate and (options.report or options.headers or options.classes):
        parser.error("--report, --headers and --classes are of --validate: add it, or leave them out")
    from tasks import convert as converter

    if options.link and options.path.is_file():
        raise SightlineError(f"--link: {options.path} is a ZIP, expected a folder: leave --link out")
    with ExitStack() as stack:
        with _access():
            if options.validate:
                converter.check_free(options.out)
                opened = stack.enter_context(_check(options)).open()
            else:
                opened = stack.enter_context(converter.open_dataset(options.path, options.format, options.voc_origin))
        count = converter.convert(opened, options.to, options.out, link=options.link, lossy=options.lossy)
        print(f"{options.out}: {count} images, {len(opened.tables.objects)} objects, {opened.format} to {options.to}")
    return 0


def diff(arguments: list[str]) -> int:
    """Shows what was added, removed and relabelled between two datasets."""
    parser = argparse.ArgumentParser(prog="sightline diff", description=diff.__doc__)
    parser.add_argument("old", type=Path, help="a folder, a ZIP, or data/dataset of the pipeline")
    parser.add_argument("new", type=Path, help="the other")
    text = "the format of both, or given twice, of the old and of the new one (default: found out)"
    _add_format(parser, "--format", text, action="append")
    _add_origin(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    names = options.format or ["auto"]
    if len(names) > 2:
        parser.error(f"--format: got {len(names)} of them, expected at most two, of the old and of the new dataset")
    from tasks import convert as converter
    from tasks import dataset_diff

    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # the lines of progress are no part of the answer
        given = zip((options.old, options.new), (names[0], names[-1]), strict=True)
        with _access():
            old, new = (stack.enter_context(converter.open_dataset(*each, options.voc_origin)) for each in given)
        for path, opened in ((options.old, old), (options.new, new)):
            converter.refuse_errors(opened.findings, f"{path}: ")
        found = dataset_diff.compare(old.tables, new.tables, old.root, new.root)
    print(found.to_json() if options.json else found.to_text())
    return 0 if found.is_empty else 1


@contextmanager
def _access() -> Iterator[None]:
    """Tells of a file that cannot be used, while a dataset is opened.

    Raises:
        SightlineError: There is one.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:  # of no file: no mistake of the user's
            raise
        expected = "expected access to it: see its permissions, or leave it out"
        raise SightlineError(f"{error.filename}: {error.strerror}, {expected}") from error


def _check(options: argparse.Namespace) -> "AbstractContextManager[Checked]":
    """Looks at the dataset, with the options of `_add_check`."""
    from tasks import dataset_check

    decode, origin, classes = not options.headers, options.voc_origin, options.classes or ()
    return dataset_check.check(
        options.path, options.format, options.report or FINDINGS, decode=decode, voc_origin=origin, classes=classes
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    """What `validate` takes."""
    parser.add_argument("--report", type=Path, help=f"where the page goes (default: {FINDINGS})")
    parser.add_argument("--headers", action="store_true", help="look at the headers of the images, and decode no pixel")
    text = "all classes, in the order of their ids: a label of any other is an error (default: those that occur)"
    parser.add_argument("--classes", type=_classes, metavar="A,B,...", help=text)
    _add_origin(parser)


def _classes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected names with commas between them, each once")
    return names


def _add_origin(parser: argparse.ArgumentParser) -> None:
    text = "what the coordinates of VOC boxes count from (default: %(default)s, as in the kit)"
    parser.add_argument("--voc-origin", type=int, choices=(0, 1), default=1, help=text)


def _add_format(parser: argparse.ArgumentParser, option: str, text: str, **settings: object) -> None:
    names = variants.names("formats")
    choices = names if settings.get("required") else ["auto", *names]
    parser.add_argument(option, choices=choices, help=f"{text}: {', '.join(names)}", metavar="FORMAT", **settings)  # type: ignore[arg-type]
