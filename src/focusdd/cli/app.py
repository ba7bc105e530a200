"""The command line: arguments in, one call, words out."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from focusdd.cli.detect import detect
from focusdd.cli.renamed import with_new_names
from focusdd.core.console import console, say
from focusdd.core.distributed import fails_first, world_size
from focusdd.core.errors import FocusError, plain_os_error, plain_settings_error
from focusdd.core.version import __version__
from focusdd.settings import (
    CompareSettings,
    DistillSettings,
    EngineSettings,
    ExtractorSettings,
    ExtractSettings,
    FitSettings,
    LabelSettings,
    RunSettings,
    TrainSettings,
)

SourceName = Annotated[
    str,
    Parameter(
        help="Folder of class folders, tars or Parquet files; a pattern of such files, also in a store "
        '(s3://...); `hf:NAME`, a Hugging Face dataset; or "demo".'
    ),
]

app = App(
    name="focusdd",
    version=__version__,
    help="Distil a large image dataset into a tiny one on which any architecture trains fast and well. "
    "Settings may also stand in a file focusdd.toml in the current folder, one table per command.",
    config=Toml("focusdd.toml", must_exist=False),
    suppress_keyboard_interrupt=False,  # the program says how to go on
)
Flat = Parameter(name="*")


@app.command
def extract(
    source: SourceName,
    /,
    *,
    out: Path,
    settings: Annotated[ExtractSettings | None, Flat] = None,
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Read attention, confidence and key patches of every image: the only pass over the big data.

    Example: `focusdd extract photos/ --out index/ --extractor checkpoints/vit`

    Parameters
    ----------
    out
        Folder for the index.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd import extract

    index = extract(source, out, settings, overwrite=overwrite, engine=engine)
    images = index.info["counts"]["images"]
    say(f"wrote {out}: {images} images. Next: focusdd distill {quote(source)} --index {out} --out ...")


@app.command
def distill(
    source: SourceName,
    /,
    *,
    out: Path,
    index: Path | None = None,
    settings: Annotated[DistillSettings | None, Flat] = None,
    extract: Annotated[ExtractorSettings | None, Flat] = None,
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Choose images and compose their key patches and views into a tiny dataset.

    Example: `focusdd distill photos/ --ipc 10 --index index/ --out tiny/`

    Parameters
    ----------
    out
        Folder for the distilled dataset.
    index
        What `focusdd extract` made of this source; without it, it is made in a folder OUT-index.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd import distill

    made = distill(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
    images = made.info["ipc"] * len(made.classes)
    following = f"focusdd train {out} --val {quote(source)} --teacher ... --out ..."
    say(f"wrote {out}: {images} images. Next: {following}")


@app.command
def fit(
    source: SourceName,
    /,
    *,
    out: Path,
    settings: Annotated[FitSettings | None, Flat] = None,
    val: str | None = None,
    overwrite: bool = False,
) -> None:
    """Train a teacher or an extractor on a source and write a checkpoint folder.

    Example: `focusdd fit photos/ --model resnet18 --epochs 30 --val photos/ --out teacher/`
    Several GPUs: `torchrun --nproc-per-node 4 -m focusdd fit ...`

    Parameters
    ----------
    out
        Folder for the checkpoint (config.json + model.safetensors).
    val
        Source whose validation images the final weights are scored on.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd import fit

    fit(source, out, settings, val=val, overwrite=overwrite)
    say(f"wrote {out}. Use it as --teacher {out}, or as --extractor {out} if it is a ViT")


@app.command
def label(
    distilled: Path,
    /,
    *,
    settings: Annotated[LabelSettings, Flat],
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Write a teacher's soft labels beside the distilled images: training then needs no teacher.

    Example: `focusdd label tiny/ --teacher teacher/ --kind views --views 100 --size 128`

    Parameters
    ----------
    distilled
        What `focusdd distill` made.
    overwrite
        Replace labels of the same kind that were made with other settings.
    """
    from focusdd import label

    for store in label(distilled, settings, overwrite=overwrite, engine=engine):
        each = store.bytes / store.info["images"]
        say(f"wrote {store.folder}: {each:,.0f} bytes per image")
    say(f"Next: focusdd train {distilled} --labels stored --val ... --out ...")


@app.command
def publish(
    distilled: Path, /, *, to: str | None = None, private: bool = False, overwrite: bool = False
) -> None:
    """Upload a distilled dataset with its labels to the Hugging Face Hub, or look at what would be uploaded.

    Example: `focusdd publish tiny/ --to me/tiny-photos`

    Parameters
    ----------
    distilled
        What `focusdd distill` made, with or without labels.
    to
        Name on the Hub. Without it nothing is sent.
    private
        Make a private repository.
    overwrite
        Replace files of a repository that exists.
    """
    from focusdd import publish

    made = publish(distilled, to, private=private, overwrite=overwrite)
    if made.columns is not None:
        say(f"load_dataset reads it, with the columns {', '.join(made.columns)}")
    what = f"{made.files} files, {made.bytes / 2**20:.1f} MiB"
    say(f"wrote {made.url}: {what}" if made.url else f"{what} would be uploaded. Next: add --to OWNER/NAME")


@app.command
def train(
    distilled: Path,
    /,
    *,
    val: str,
    out: Path,
    settings: Annotated[TrainSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Train a student on a distilled dataset and score it on the untouched validation images.

    Example: `focusdd train tiny/ --val photos/ --teacher teacher/ --student resnet18 --out student/`
    Several GPUs: `torchrun --nproc-per-node 4 -m focusdd train ...`

    Parameters
    ----------
    distilled
        What `focusdd distill` made.
    val
        Source whose validation images the last weights are scored on.
    out
        Folder for the result and the student's checkpoint.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd import train

    result = train(distilled, val, out, settings, overwrite=overwrite)
    score = f"{result.student}: {result.top1:.1%} top-1, {result.top5:.1%} top-5"
    say(f"{score} on {result.val['images']} images of {result.val['name']}")
    say(f"wrote {out}. Next: focusdd report {out.parent}")


@app.command
def compare(
    source: SourceName,
    /,
    *,
    out: Path,
    val: str | None = None,
    other: str | None = None,
    index: Path | None = None,
    settings: Annotated[
        CompareSettings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())
    ] = None,
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Run methods x ipc x students x labels x seeds, and write one table and one page of it all.

    Example: `focusdd compare photos/ --out runs/compare --teacher teacher/ --extractor vit/
    --methods focus rded full --ipc 1 10 --labels soft hard --train.size 128`

    Parameters
    ----------
    out
        Folder for everything the comparison makes; an interrupted or extended one goes on in it.
    val
        Source whose validation images the students are scored on; default: SOURCE.
    other
        A second source with the same classes, whose validation images the students are scored on too.
    index
        What `focusdd extract` made of SOURCE; default: made in OUT/index where a method needs it.
    overwrite
        Replace outputs of focusdd that were made with other settings.
    """
    from focusdd import compare, report

    table = compare(
        source,
        val or source,
        out,
        settings,
        other=other,
        index=index,
        overwrite=overwrite,
        engine=engine,
    )
    page = report(out)
    say(f"wrote {out / 'results.csv'}: {len(table)} runs. Next: open {page} in a browser")


@app.command
def run(
    source: SourceName,
    /,
    *,
    out: Path,
    val: str | None = None,
    settings: Annotated[RunSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Fit a teacher, extract, distill and train a student: all stages in one command.

    Example: `focusdd run photos/ --ipc 10 --student resnet18 --control --out runs/photos`

    Parameters
    ----------
    out
        Folder for all stages. An interrupted run goes on in it.
    val
        Source whose validation images the models are scored on. Default: SOURCE.
    overwrite
        Replace outputs of focusdd that were made with other settings.
    """
    from focusdd import report, run

    run(source, out, settings or RunSettings(), val=val, overwrite=overwrite)
    page = report(out)
    following = f"focusdd label {out / 'distilled'} --teacher {out / 'teacher'}"
    say(f"wrote {out}. Open {page} in a browser. Next: {following}")


app.command(detect)


@app.command
def report(folder: Path, /) -> None:
    """Write one self-contained page about all indexes, distilled datasets and students in a folder.

    Example: `focusdd report runs/`

    Parameters
    ----------
    folder
        Folder that holds outputs of focusdd, at any depth.
    """
    from focusdd import report

    say(f"wrote {report(folder)}: open it in a browser")


@app.command
def status(folder: Path, /) -> None:
    """List the stages in a folder and how far each is.

    Example: `focusdd status runs/`

    Parameters
    ----------
    folder
        Folder that holds outputs of focusdd, at any depth.
    """
    from focusdd import status

    table = Table("folder", "stage", "state", "detail")
    stages = status(folder)
    for stage in stages:
        table.add_row(str(stage.path), stage.stage, stage.state, stage.detail)
    console.print(table, markup=False)
    unfinished = sum(stage.state != "done" for stage in stages)
    say(
        f"{unfinished} unfinished: run their commands again to go on"
        if unfinished
        else f"all {len(stages)} done. Next: focusdd report {folder}"
    )


@app.command
def demo(*, out: Path = Path("demo"), quick: bool = False) -> None:
    """Run the whole path on generated images: fit, extract, distil, train, report. No download.

    Example: `focusdd demo --out demo/`

    Parameters
    ----------
    out
        Folder for everything the demo makes; an interrupted demo goes on in it.
    quick
        A few seconds' worth of everything: shows that the installation works, not what the method can do.
    """
    from focusdd.demo.run import run_demo

    run_demo(out, quick=quick)


def main() -> None:
    """Runs a command: a user's mistake is one sentence and exit code 2, never a traceback."""
    warnings.filterwarnings("ignore", module=r"(torch|timm|PIL|torchvision)\b.*")
    if world_size() > 1 and sys.argv[1:2] not in (["train"], ["fit"]):
        _fail("only train and fit run under torchrun: start this command without it")
    try:
        app(with_new_names(sys.argv[1:]), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        cause = error.__cause__
        _fail(str(plain_settings_error(cause)) if isinstance(cause, ValidationError) else str(error))
    except ValidationError as error:
        _fail(str(plain_settings_error(error)))
    except FocusError as error:
        _fail(str(error))
    except OSError as error:
        _fail(str(plain_os_error(error)))


def _fail(sentence: str) -> None:
    if fails_first():
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {sentence}", markup=False)
    sys.exit(2)
