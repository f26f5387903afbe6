"""What follows a family's `post`, once in ONNX and once in PyTorch, one file a task, found by the task's name. Each has

- `RAW`: the names of what `post` returns first, see `tasks.models.Parts`;
- `append(model, description, masks)`: the ONNX graph that ends in them, to one that ends in the outputs of `sightline.contract`;
- `finish(tensors, conf, description, masks)`: the same in PyTorch.

`masks` is the part of that name, None where the family has none.
"""

from types import ModuleType

from tasks import variants


def load(task: str) -> ModuleType:
    """The module of a task.

    Raises:
        SightlineError: There is none.
    """
    return variants.load("outputs", task, "model.task")
