"""What follows a family's `post`, once in ONNX and once in PyTorch, one file a task, found by the task's name. Each has

- `RAW`: the names of what `post` returns first, see `tasks.models.Parts`;
- `append(model, description)`: the ONNX graph that ends in them, to one that ends in the outputs of `sightline.contract`;
- `finish(tensors, conf, description)`: the same in PyTorch.

Where a family has the part `masks`, both take it as well.
"""

from types import ModuleType

from tasks import variants


def load(task: str) -> ModuleType:
    """The module of a task.

    Raises:
        SightlineError: There is none.
    """
    return variants.load("outputs", task, "model.task")
