"""The tasks. A new one is a folder here and a line in TASKS."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from focusdd.tasks.base import Task

# imported on first use: a task needs torch
TASKS = {
    "classify": "focusdd.tasks.classify.task:CLASSIFY",
    "detect": "focusdd.tasks.detect.task:DETECT",
}


def task_of(stage: str) -> Task:
    """The task of a stage, by the stage's name: classification has no name of its own in it."""
    first = stage.partition(" ")[0]
    return task_named(first if first in TASKS else "classify")


def task_named(name: str) -> Task:
    """The task of a name in TASKS."""
    task: Task = resolve_name(TASKS[name])
    return task
