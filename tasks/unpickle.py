"""Loads a pickle that the user trusts, and writes its tensors: `python -m tasks.unpickle JOB RESULT`, shut in first."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from sightline.errors import SightlineError
from tasks import sandbox


def convert(path: Path, out: Path) -> None:
    """Writes the state dict in `path` as safetensors. The code in the pickle runs.

    Raises:
        SightlineError: There is none in it.
    """
    from safetensors.torch import save_file

    from tasks.weights import state_of

    state = state_of(_load(path), path)
    save_file({name: value.detach().cpu().clone().contiguous() for name, value in state.items()}, out)


def _load(path: Path) -> Any:
    """What torch.save or pickle.dump wrote."""
    import pickle

    import torch
    from torch.serialization import MAGIC_NUMBER

    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            file.seek(0)
            content = pickle.load(file)  # noqa: S301  the user said so, and nothing is in reach
            if content != MAGIC_NUMBER:
                return content
    return torch.load(path, map_location="cpu", weights_only=False)


def main() -> None:
    """Runs the job of the first argument and writes its result to the second."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source, out, answer = Path(job["path"]), Path(job["out"]), Path(sys.argv[2])
    result = {"status": "ok", "message": ""}
    try:
        sandbox.enter([source], [out.parent, answer.parent])
        os.environ.update(YOLO_CONFIG_DIR=str(out.parent), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
        convert(source, out)
    except SightlineError as error:
        result = {"status": "failed", "message": str(error)}
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
