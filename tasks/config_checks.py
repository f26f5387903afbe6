"""What must fit together in params.yaml, and what it names that must be there: all that no section can tell by itself."""

import ast
import contextlib
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError

from sightline.contract import Precision
from sightline.engines import Candidate
from sightline.errors import SightlineError
from tasks import variants
from tasks.schema import MAX_BATCH, MAX_STREAMS, Choice, Model, Params, Tracking, Train

PLACE: Final = ("device", "devices", "channels_last", "compile")
"""Of a recipe, what says where and how it computes: no hyperparameters."""
MEASURED: Final = (
    "p50_ms", "p90_ms", "p95_ms", "p99_ms", "throughput", "cpu_percent", "rss_mb", "size_mb", "load_ms", "first_ms", "energy_j",
    "gpu_percent", "vram_mb", "bare_p50_ms", "video_fps", "streams_images_s", "streams_rss_mb", "parity_drop", "parity_error",
    "cost_per_million", "drop", "fitness", "p99_error", "threads", "batch", "streams", "samples", "windows",
)  # fmt: skip
"""Columns of the benchmark that constraints can bound whatever the task; `tasks.metrics` has a task's own."""

MAX_MASKS: Final = 100  # objects an image, as `sightline.contract` has them


def check(params: Params, where: str = "params.yaml") -> None:
    """Refuses values that cannot work.

    Raises:
        SightlineError: One line a mistake: the key, what was got, what was expected, and the nearest valid value.
    """
    mistakes = list(_unknown_variants(params))
    if not mistakes:
        mistakes = [
            *_recipe_mistakes(params.model, params.train),
            *_final_fit_mistakes(params),
            *_space_mistakes(params),
            *_constraint_mistakes(params),
            *_missing_trackers(params.tracking),
        ]
    if mistakes:
        raise SightlineError("\n".join(f"{where}: {mistake}" for mistake in mistakes))


def declared(model: Model) -> dict[str, Any]:
    """The annotated constants of a model's family and of what it is built on, as far as they are literals, without imports."""
    names = (f"_{model.library}", f"_{model.library}_{model.task}", model.file)
    return {key: value for name in names for key, value in _literals("models", name).items()}


def _literals(group: str, name: str) -> dict[str, Any]:
    """The annotated constants of a variant, as far as they are literals, or `module.NAME` of a module of the same folder."""
    found: dict[str, Any] = {}
    for node in ast.parse((variants.TASKS / group / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            if isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name):
                other = node.value.value.id
                constants = _literals(group, other) if (variants.TASKS / group / f"{other}.py").is_file() else {}
                found |= {node.target.id: constants[node.value.attr]} if node.value.attr in constants else {}
                continue
            with contextlib.suppress(ValueError):
                found[node.target.id] = ast.literal_eval(node.value)
    return found


def _one_of(key: str, got: str, valid: Sequence[str]) -> Iterator[str]:
    """Nothing where `got` is valid."""
    if got not in valid:
        nearest = difflib.get_close_matches(got, valid, n=1, cutoff=0.5)
        yield f"{key}: got {got}: expected one of {', '.join(valid)}" + (f": did you mean {nearest[0]}?" if nearest else "")


def _unknown_variants(params: Params) -> Iterator[str]:
    """Names of files that are not there."""
    yield from _one_of("dataset.source", params.dataset.source, variants.names("sources"))
    yield from _one_of("dataset.format", params.dataset.format, ["auto", *variants.names("formats")])
    yield from _one_of("model.file", params.model.file, variants.names("models"))
    yield from _one_of("model.task", params.model.task, variants.names("metrics"))
    task = f"_{params.model.task}"
    libraries = [name.removesuffix(task) for name in variants.names("models", "_") if name.endswith(task)]
    yield from _one_of("model.library", params.model.library, libraries)
    yield from _one_of("strategy.name", params.strategy.name, variants.names("strategies"))
    engines = [name.replace("_", "-") for folder in ("engines", "../sightline/engines") for name in variants.names(folder)]
    valid = sorted(f"{engine}-{precision}" for engine in engines for precision in get_args(Precision))
    for candidate in params.hardware.candidates:
        parsed = Candidate.parse(candidate)
        plain = str(parsed.plain)
        if plain not in valid:
            yield from _one_of("hardware.candidates", candidate, valid)
        elif str(parsed) != candidate or parsed.batch > MAX_BATCH or parsed.streams > MAX_STREAMS:
            numbers = f"-t2 or more threads, -b2 to -b{MAX_BATCH} images, -s1 to -s{MAX_STREAMS} streams"
            yield f"hardware.candidates: got {candidate}, expected {plain} and then {numbers}, in this order"


def _missing_trackers(tracking: Tracking) -> Iterator[str]:
    """Trackers that are on and whose library, of the same name, is not installed."""
    for name in tracking.names_on():
        if importlib.util.find_spec(name) is None:
            remedy = f"`uv pip install {name}`, or set tracking.{name}=false"
            yield f"tracking.{name}: true, but its library is not installed: {remedy}"


def _recipe_mistakes(model: Model, train: Train) -> Iterator[str]:
    """What the family and its library do not take; a constant that they do not declare restricts nothing."""
    takes = declared(model)
    yield from _one_of("model.task", model.task, takes.get("TASKS", (model.task,)))
    yield from _one_of("model.arch", model.arch, takes.get("ARCHITECTURES", (model.arch,)))
    yield from _one_of("train.optimizer", train.optimizer, takes.get("OPTIMIZERS", (train.optimizer,)))
    yield from _one_of("train.balance", train.balance, takes.get("BALANCE", ("none",)))
    if train.dice and "dice" not in takes.get("LOSSES", ()):
        yield f"train.dice: got {train.dice:g}, expected 0: {model.file} has no such loss"
    for name in train.augment:
        yield from _one_of("train.augment", name, takes.get("AUGMENT", (name,)))
    yield from _one_of("model.imgsz", str(model.imgsz), [str(side) for side in takes.get("IMGSZ", (model.imgsz,))])
    if model.imgsz % takes.get("STRIDE", 1):
        yield f"model.imgsz: got {model.imgsz}, expected a multiple of {takes['STRIDE']}"
    if model.task == "segment" and model.max_det > MAX_MASKS:
        yield f"model.max_det: got {model.max_det}, expected at most {MAX_MASKS}: each object has a mask"


def _final_fit_mistakes(params: Params) -> Iterator[str]:
    """A final fit of what is not to be trained."""
    if params.strategy.final_fit and params.model.weights:
        yield (
            "strategy.final_fit: got true, expected false: model.weights is taken as it is, untrained: to train from it, set "
            "model.pretrained to it instead"
        )


def _space_mistakes(params: Params) -> Iterator[str]:
    """Dimensions of what is no hyperparameter, or with ends that the recipe does not take."""
    augment = declared(params.model).get("AUGMENT", tuple(params.train.augment))
    valid = [key for key in Train.model_fields if key not in ("augment", *PLACE)] + [f"augment.{name}" for name in augment]
    for key, dimension in params.space.items():
        unknown = list(_one_of("space", key, valid))
        yield from unknown
        if unknown:
            continue
        for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
            recipe = params.train.model_dump()
            group, _, name = key.rpartition(".")
            (recipe[group] if group else recipe)[name] = value
            try:
                mistakes = list(_recipe_mistakes(params.model, Train.model_validate(recipe)))
            except ValidationError as error:
                mistakes = [f"got {value}: {error.errors()[0]['msg']}"]
            yield from (f"space.{key}: {mistake}" for mistake in mistakes)


def _constraint_mistakes(params: Params) -> Iterator[str]:
    """Bounds on what the benchmark does not measure."""
    own = _literals("metrics", params.model.task)
    valid = [*MEASURED, *(f"batch{size}_images_s" for size in params.benchmark.batches), *own["COLUMNS"]]
    constraints = params.constraints
    asked = constraints.weights if constraints.objective == "weighted" else {constraints.objective: 1}
    if asked.get("cost_per_million") and params.hardware.price_per_hour is None:
        yield "hardware.price_per_hour: got none, expected what the machine costs, for the objective cost_per_million: set it"
    for kind, limits in (("max", constraints.max), ("min", constraints.min)):
        for column in limits:
            metric, _, name = column.partition("/")
            if not (name and metric in own["PER_CLASS"]):
                yield from _one_of(f"constraints.{kind}", column, valid)
