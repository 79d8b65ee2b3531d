"""The built-in tasks by name."""

from __future__ import annotations

from typing import Final

from counterpoise._validation import unknown
from counterpoise.errors import ConfigError
from counterpoise.tasks._multiclass import MultiClass
from counterpoise.tasks._multilabel import MultiLabel
from counterpoise.tasks._regression import Regression
from counterpoise.tasks._task import Task

TASKS: Final[dict[str, type[Task]]] = {task.name: task for task in (MultiClass, MultiLabel, Regression)}
"""The built-in tasks by name."""


def task_type(task: str | Task) -> type[Task]:
    """Return the class of a task that is given by name or as an object.

    Raises:
        NotFoundError: For an unknown name. A task of your own is given as an object.
    """
    if isinstance(task, Task):
        return type(task)
    if not isinstance(task, str):
        raise ConfigError(f"A task should be a name or a `Task`. Found {task!r}.")
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return TASKS[task]


def make_task(task: str | Task, num_outputs: int) -> Task:
    """Return the given task, or the built-in task of a name with C outputs.

    Raises:
        ConfigError: If the given task has another number of outputs.
    """
    if not isinstance(task, Task):
        return task_type(task)(num_outputs)
    if task.num_outputs != num_outputs:
        raise ConfigError(f"The task {task!r} has {task.num_outputs} outputs. Found `num_outputs = {num_outputs}`.")
    return task
