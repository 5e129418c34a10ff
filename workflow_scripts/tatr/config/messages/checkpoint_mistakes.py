"""Origins of individual models that lack a key, and keys that no origin reads."""

from collections.abc import Iterator

from tatr.config.messages.mistakes import Mistake
from tatr.config.models import Config
from tatr.config.weights import ORIGINS


def checkpoint_mistakes(config: Config) -> Iterator[Mistake]:
    """What is missing or superfluous under `checkpoints`. What every task states for itself needs no default."""
    checkpoints = config.checkpoints
    origins = {task: checkpoints.of(task) for task in (*config.suite, *checkpoints.tasks)}
    for origin, keys in ORIGINS.items():
        of_origin = {task: its for task, its in origins.items() if its.origin == origin}
        if lacking := [task for task, its in of_origin.items() if keys and getattr(its, keys[0]) is None]:
            some = f" (for {'tasks' if len(lacking) > 1 else 'task'} {', '.join(lacking)})"
            text = f"origin {origin} needs `{keys[0]}`{'' if len(lacking) == len(origins) else some}"
            yield Mistake(("checkpoints",), text)
        for key in keys:
            text = f"is read with origin: {origin} alone; set that, too, or leave {key} out"
            if getattr(checkpoints, key) is not None and not of_origin:
                yield Mistake(("checkpoints", key), text)
            for task, changes in checkpoints.tasks.items():
                if getattr(changes, key) is not None and task not in of_origin:
                    yield Mistake(("checkpoints", "tasks", task, key), text)
