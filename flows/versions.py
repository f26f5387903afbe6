"""The verbs of `sightline` that look back: compare runs; list, promote and roll back versions of the model."""

import argparse
import json
import sys

from flows import project
from tasks.schema import Package, parse, read_params


def compare(arguments: list[str]) -> int:
    """Shows pipeline runs side by side: the params that differ, accuracy, latency and size."""
    parser = argparse.ArgumentParser(prog="sightline compare", description=compare.__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or ids, or their beginnings (default: the last ones)")
    parser.add_argument("--last", type=int, default=5, help="how many, where none is named (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    project.check()
    from flows import comparison

    runs = comparison.read(options.runs, options.last)
    if options.json:
        print(json.dumps(comparison.as_rows(runs), indent=2))
    else:
        comparison.show(runs, sys.stdout)
    return 0


def versions(arguments: list[str]) -> int:
    """Lists the versions of the model, and what was decided of each."""
    argparse.ArgumentParser(prog="sightline versions", description=versions.__doc__).parse_args(arguments)
    project.check()
    from flows import registry

    for line in registry.describe(_name()):
        print(line)
    return 0


def promote(arguments: list[str]) -> int:
    """Makes a version the champion where it is better on the same test images by more than the noise."""
    parser = argparse.ArgumentParser(prog="sightline promote", description=promote.__doc__)
    parser.add_argument("version", nargs="?", metavar="VERSION", help="e.g. v2 (default: the challenger)")
    parser.add_argument("--force", action="store_true", help="whatever the figures say")
    options = parser.parse_args(arguments)
    project.check()
    from flows import registry

    decision = registry.promote(_name(), options.version, options.force)
    print(decision.reason)
    return 0 if decision.is_champion else 1


def rollback(arguments: list[str]) -> int:
    """Makes the version the champion again that was it before."""
    argparse.ArgumentParser(prog="sightline rollback", description=rollback.__doc__).parse_args(arguments)
    project.check()
    from flows import registry

    print(registry.rollback(_name()))
    return 0


def _name() -> str:
    return parse(Package, read_params().get("package", {})).name
