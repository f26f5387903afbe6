"""The side of `tasks.isolation.Worker` that answers; it imports the standard library alone, so that it adds no memory."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def answer_commands(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers each command, a line of JSON, until there are no more; what libraries print goes to stderr.

    Args:
        answer: A command to its answer, which has `status` and `message`.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
