"""The verbs of `sightline` that work on a model without the pipeline: evaluate."""

import argparse
from pathlib import Path

from sightline.cores import available_cores
from tasks.tables import SPLITS


def evaluate(arguments: list[str]) -> int:
    """Measures a checkpoint, an ONNX file or a package on a split of the dataset."""
    parser = argparse.ArgumentParser(prog="sightline evaluate", description=evaluate.__doc__)
    parser.add_argument("model", type=Path, help="e.g. models/champion, models/exported/model.int8.onnx or dist/service")
    parser.add_argument("--split", choices=SPLITS, default="val", help="what it is measured on (default: %(default)s)")
    parser.add_argument("--candidate", help="the engine and precision, e.g. openvino-cpu-fp32 (default: the model's own)")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="what ingest wrote (default: %(default)s)")
    parser.add_argument(
        "--dataset", type=Path, default=Path("data/dataset"), help="what transform wrote (default: %(default)s)"
    )
    parser.add_argument("--report", type=Path, default=Path("work/evaluate"), help="where pictures go (default: %(default)s)")
    parser.add_argument(
        "--champion",
        type=Path,
        default=Path("models/champion"),
        help="what a file or package was made of: after a final fit it says which images of val judge (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    from tasks import evaluate_model

    model = evaluate_model.find(options.model, options.candidate)
    places = options.raw, options.dataset, options.split, options.report
    metrics, images = evaluate_model.run(model, *places, available_cores(), options.champion)
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.4f}")
    print(f"{options.model} by {model.candidate} on {images}: pictures in {options.report}")
    return 0
