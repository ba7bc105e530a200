"""`compare` as a public function of each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from focusdd.comparison.compare import compare as run_compare
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.public import for_task

if TYPE_CHECKING:
    import pyarrow as pa

compare: Callable[..., pa.Table] = for_task(run_compare, CLASSIFY, CLASSIFY.comparison.settings)
detect_compare: Callable[..., pa.Table] = for_task(run_compare, DETECT, DETECT.comparison.settings)
