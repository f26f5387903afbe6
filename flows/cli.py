"""The verbs of `sightline` that need a checkout: run, compose, summary, publish and ui."""

import argparse
import sys
from collections.abc import Sequence

from flows import project


def run(arguments: list[str]) -> int:
    """Runs the pipeline, with overrides such as model=yolo11n train.epochs=5."""
    from flows import run as run_verb

    parser = _parser("run", run.__doc__)
    parser.add_argument("--no-publish", dest="publish", action="store_false", help="do not push, copy and register the package")
    options = _parse(parser, arguments)
    project.check()
    return run_verb.run(options.overrides, options.publish)


def compose(arguments: list[str]) -> int:
    """Composes conf/ and overrides into params.yaml, and notes what the data's source holds."""
    options = _parse(_parser("compose", compose.__doc__), arguments)
    project.check()
    from flows import compose as compose_module
    from flows import storage

    compose_module.write_params(options.overrides)
    project.write_source()
    storage.configure()
    return 0


def summary(arguments: list[str]) -> int:
    """Prints what the last run found: data, metrics, benchmark, the winner, and how to start the service."""
    argparse.ArgumentParser(prog="sightline summary", description=summary.__doc__).parse_args(arguments)
    project.check()
    from flows import summary as summary_verb
    from tasks import trackers

    trackers.finish()
    summary_verb.show()
    return 0


def publish(arguments: list[str]) -> int:
    """Pushes data and models, copies the package to the storage, and registers it."""
    argparse.ArgumentParser(prog="sightline publish", description=publish.__doc__).parse_args(arguments)
    project.check()
    from flows import publish as publish_verb

    for line in publish_verb.publish().lines:
        print(line)
    return 0


def ui(arguments: list[str]) -> int:
    """Starts Prefect's server and UI with a deployment that runs the pipeline on a schedule."""
    parser = argparse.ArgumentParser(prog="sightline ui", description=ui.__doc__)
    parser.add_argument("--cron", default="0 * * * *", help="when it looks for new data (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4200, help="on 127.0.0.1 (default: %(default)s)")
    options = parser.parse_args(arguments)
    project.check()
    from flows import ui as ui_verb

    return ui_verb.run(options.cron, options.port)


def _parser(verb: str, text: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"sightline {verb}", description=text)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="experiment=smoke, model=yolo11n, train.epochs=5, ..."
    )
    return parser


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parses; an argument that is no override ends the command with one line."""
    options = parser.parse_args(arguments)
    for override in options.overrides:
        if "=" not in override and not override.startswith("~"):
            print(f"{parser.prog}: {override}: expected KEY=VALUE, e.g. model=yolo11n", file=sys.stderr)
            sys.exit(2)
    return options
