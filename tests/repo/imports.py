"""Which of the project's files a module runs, read from its import statements, those inside functions included."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sightline", "tasks", "flows")


def module_file(name: str) -> Path | None:
    """The file of one of the project's modules."""
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def imports(path: Path) -> set[str]:
    """The project's modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if module_file(f"{node.module}.{alias.name}")}
    return {name for name in found if name.split(".")[0] in PACKAGES and module_file(name)}


@functools.cache
def closure(path: Path) -> set[Path]:
    """The file, and all that it imports, directly or not."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imports(file):
            parts = name.split(".")
            packages = [module_file(".".join(parts[:count])) for count in range(1, len(parts) + 1)]
            todo += [package for package in packages if package and package.read_text(encoding="utf-8").strip()]
    return seen
