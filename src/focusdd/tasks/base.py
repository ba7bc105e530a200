"""What a task is: an adapter between one kind of annotation and the stages that all tasks share.

`extract`, `distill` and `compare` exist once. A task says how its source is opened, what a row of its index
holds, how it selects, draws and describes, how it trains and scores, and which columns its results have.
It holds functions and no state, so a Ray worker gets the task itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from focusdd.tasks.trials import ComparisonContext, Trial, distilling, folders_of, training

if TYPE_CHECKING:
    import pyarrow as pa

    from focusdd.composition.dataset import Shown
    from focusdd.composition.images import Drawing
    from focusdd.extraction.attention import ViT
    from focusdd.extraction.index import Index
    from focusdd.extraction.inference import Inference
    from focusdd.models.load import Model
    from focusdd.selection.subset import Candidates
    from focusdd.settings import EngineSettings, ExtractorSettings


Content = Callable[[], str | bytes | Path]
"""What a file holds; a path is what it links to."""


def _nothing(*_: Any) -> None:
    """Default of a field for a task that has nothing to do there."""


def _no_facts(*_: Any) -> dict[str, Any]:
    return {}


class Extracted(NamedTuple):
    """What is known of an index once all of its rows are there."""

    confidence: str
    """What gave it: head or probe; empty where nothing did."""
    accuracy: float
    """Top-1 of that, a fraction."""
    counts: dict[str, int]
    facts: dict[str, Any]
    """Further fields of index.json."""


@dataclass(frozen=True)
class Extraction:
    """How images become rows of an index."""

    version: int
    settings: Callable[[], Any]
    inference: Callable[[Any, Model, ViT, Any], Inference]
    """(source, model, vit, settings) -> the columns of a batch of images."""
    finish: Callable[[Path, Any, Model, Any, list[list[str]]], Extracted]
    """(folder, source, model, settings, skipped): fills in what only all rows together tell."""
    check: Callable[[Any, Model, Any], None] = _nothing
    """(source, model, settings): raises FocusError before anything is spent."""


@dataclass(frozen=True)
class Distillation:
    """How rows of an index, or a source alone, become a distilled dataset."""

    version: int
    settings: Callable[[], Any]
    with_index: tuple[str, ...]
    """Methods that choose among what `extract` found."""
    plan: Callable[[Any, Any, Index | None, Model | None, Path], Any]
    """(source, settings, index, judge, folder) -> a plan: tiles, images(), table(), short."""
    drawing: Drawing
    """How the plan becomes files."""
    fields: tuple[str, ...]
    """All fields of distilled.json in their order."""
    card: Callable[[dict[str, Any]], str]
    """The dataset card of a distilled.json."""
    open: Callable[[Path | str], Shown]
    images: Callable[[Any, Any], int] = lambda *_: 0
    """(source, settings) -> how many distilled images are asked for; 0 for all of the source."""
    extract_settings: Callable[[Any, ExtractorSettings], Any] = lambda _, reading: reading
    """(settings, how images are read) -> settings of `extract`."""
    describe: Callable[[Any, Any, Any, Index | None], dict[str, Any]] = _no_facts
    """(source, settings, plan, index) -> fields of distilled.json beside those of all tasks."""
    counts: Callable[[dict[str, Any]], dict[str, Any]] = _no_facts
    """What done.json counts of a distilled.json."""
    facts: Callable[[Any, Any], dict[str, Any]] = _no_facts
    """(source, settings): what settings derive their defaults from."""
    check: Callable[[Any, Any], None] = _nothing
    """(source, resolved settings): raises FocusError for what cannot be done."""
    unit: str = "images"
    """What a tile shows."""
    judge: Callable[[Any, ExtractorSettings], Model | None] = _nothing
    """(settings, how images are read): a model that the method asks, part of the key."""
    scratch: tuple[str, ...] = ()
    """Files and folders that only an unfinished stage needs."""
    summary: Callable[[dict[str, Any]], str | None] = _nothing
    """What is said of a distilled.json that has just been made."""
    beside: Callable[[Any, Any], Mapping[str, Content]] | None = None
    """(source, validation source or None): more files, by their names below the output."""


class OpenedImage(NamedTuple):
    """An original image that was chosen for a subset and can be read."""

    key: str
    file: str
    """Its name below the output folder."""
    width: int
    height: int
    notes: Any
    """What the task knows of it."""


@dataclass(frozen=True)
class Subsetting:
    """How original images are chosen, and written for other tools."""

    candidates: Callable[[Any, Index | None], Candidates]
    """(source, index): what the choice is made of."""
    folder: Callable[[Any, int], str]
    """(source, class that an image is counted with) -> its folder below the output."""
    notes: Callable[[Any, str, int, int], Any] = _nothing
    """(source, key, width, height). Raises UnreadableImage where they do not fit the image."""
    about: Callable[[Any, list[OpenedImage]], dict[str, str]] = _no_facts
    """(source, images): text files by their names below the output."""


@dataclass(frozen=True)
class Comparison:
    """How methods of a task are compared."""

    settings: Callable[[], Any]
    schema: pa.Schema
    """Columns of results.csv."""
    score: str
    """The column that verdicts are about: a fraction, more is better."""
    columns: Mapping[str, str]
    """Scores that the page shows, with their titles; `score` is one of them."""
    trials: Callable[[Any], list[Trial]]
    """All trials in the order in which they are run: see `every_trial`."""
    train: Callable[[Trial, Any, ComparisonContext], None]
    """(trial, its dataset or None, context): trains and scores a student, or finds it finished."""
    row: Callable[[Trial, dict[str, Any], ComparisonContext], dict[str, Any]]
    """(trial, result.json, context) -> columns beside those of all tasks."""
    distilling: Callable[[Trial, Any], Any] = distilling
    """(trial, settings) -> settings of `distill`; None where the trial learns from the source as it is."""
    training: Callable[[Trial, ComparisonContext], Any] = training
    """How a trial's student is trained."""
    folders: Callable[[Trial, ComparisonContext], list[Path]] = folders_of
    """The folders that `train` fills, the student's first."""
    check: Callable[[Any], None] = _nothing
    """(settings): raises FocusError for a combination that makes no sense."""
    ready: Callable[[Any, Any, EngineSettings], None] = _nothing
    """(settings, validation source, engine): raises FocusError for a teacher that cannot teach."""
    facts: Callable[[Any], dict[str, str]] = _no_facts
    """(settings): what decides which settings have an effect, beside the task and the reader."""
    work: Callable[[Trial, ComparisonContext], float] = lambda *_: 1.0
    """How much there is to train, in any unit."""
    exact: bool = False
    """Whether every method makes as many images as are asked for."""
    validation: Callable[[Any], Any] = lambda val: val
    """The validation source as all trials share it."""


@dataclass(frozen=True)
class Task:
    """A kind of annotation and what is learnt from it."""

    name: str
    words: str
    """The task in words."""
    prefix: str
    """Of the names of its stages."""
    open_source: Callable[[str, str], Any]
    """(name, split) -> its source; a Ray worker opens it so."""
    extraction: Extraction
    distillation: Distillation
    comparison: Comparison
    subsetting: Subsetting = None  # type: ignore[assignment]  # for a task without subsets

    @property
    def mark(self) -> dict[str, str]:
        """How index.json and distilled.json say that they are of this task; classification has none."""
        return {"task": self.name} if self.prefix else {}
