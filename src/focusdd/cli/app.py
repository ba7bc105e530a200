"""The program: its commands with their help, and how it ends."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from io import TextIOWrapper

from cyclopts import App, CycloptsError, MissingArgumentError
from cyclopts.config import Toml

from focusdd.cli.file import FILE, check_file
from focusdd.cli.renamed import command_in, with_new_names
from focusdd.core.distributed import fails_first, world_size
from focusdd.core.errors import FocusError, plain_os_error, plain_settings_error
from focusdd.core.spelling import owner, place, spelling
from focusdd.core.version import __version__

_TORCHRUN = "On several GPUs: torchrun --nproc-per-node 4 -m focusdd"
# their help, by name; `cli.commands`, which holds them, is imported when one runs: `--help` is quick
COMMANDS = {
    "run": """Fit a teacher, extract, distill and train a student: all stages in one command.

    An interrupted run goes on where it was.

    Example: focusdd run photos/ --ipc 10 --student resnet18 --control --out runs/photos""",
    "extract": """Read attention, confidence and key patches of every image.

    This is the only pass over all images. It writes an index, of which distill makes datasets in seconds.

    Example: focusdd extract photos/ --out index/ --extractor checkpoints/vit""",
    "distill": """Choose images and compose them, whole or as key patches, into a tiny dataset.

    Example: focusdd distill photos/ --ipc 10 --index index/ --out tiny/""",
    "subset": """Choose original images: a list, a folder of links, or copies.

    Example: focusdd subset photos/ --ratio 0.1 --form links --out tenth/""",
    "fit": f"""Train a teacher or an extractor on a source and write a checkpoint folder.

    Example: focusdd fit photos/ --model resnet18 --epochs 30 --val photos/ --out teacher/

    {_TORCHRUN} fit ...""",
    "label": """Write a teacher's soft labels beside the distilled images.

    Training then needs no teacher: focusdd train --labels stored.

    Example: focusdd label tiny/ --teacher teacher/ --kind views --num-crops 100 --size 128""",
    "train": f"""Train a student on a distilled dataset and score it on validation images.

    Example: focusdd train tiny/ --val photos/ --teacher teacher/ --student resnet18 --out student/

    {_TORCHRUN} train ...""",
    "compare": """Run methods x ipc x students x labels x seeds and write one table and one page.

    An interrupted comparison goes on where it was. An extended one does what is new.

    Example: focusdd compare photos/ --out runs/compare --teacher teacher/ --extractor vit/
    --methods focus rded full --ipc 1 10 --labels soft hard --train.size 128""",
    "publish": """Upload a distilled dataset with its labels to the Hugging Face Hub.

    Without --to it checks and counts what would be uploaded.

    Example: focusdd publish tiny/ --to me/tiny-photos""",
    "report": """Write one page about all indexes, distilled datasets and students in a folder.

    Example: focusdd report runs/""",
    "status": """List the stages in a folder and how far each is.

    Example: focusdd status runs/""",
    "demo": """Run the whole path on generated images, without a download.

    Example: focusdd demo --out demo/""",
    "detect distill": """\
    Choose windows around objects and compose them, with their boxes, into a tiny dataset.

    Example: focusdd detect distill coco/ --ipc 50 --out tiny/""",
    "detect subset": """Choose original images with boxes: a list, a folder of links, or copies.

    Every class keeps images. Ultralytics and pycocotools read the folder.

    Example: focusdd detect subset coco/ --ratio 0.1 --form links --out tenth/""",
    "detect train": """\
    Train a YOLO detector from scratch on a distilled dataset and score it on validation images.

    Example: focusdd detect train tiny/ --val coco/ --detector yolo11n --out detector/""",
    "detect compare": """Run methods x budgets x detectors x seeds and write one table and one page.

    Example: focusdd detect compare coco/ --out runs/detect --extractor vit/ --methods focus random full
    --ratio 0.01 0.034 --train.size 320 --distill.size 320""",
    "detect demo": """Run detection on generated images, without a download.

    Example: focusdd detect demo --out demo-detect/""",
}

app = App(
    name="focusdd",
    version=__version__,
    help="Distil a large image dataset into a tiny one on which any architecture trains fast and well.\n\n"
    "Begin with `focusdd run`, or with `focusdd demo`, which needs no images.\n\n"
    "Settings may also stand in a file focusdd.toml in the current folder, in one table per command.",
    help_format="plaintext",
    config=Toml(FILE, must_exist=False),
    suppress_keyboard_interrupt=False,  # the program says how to go on
)
_DETECT = "Distil images with boxes, train detectors and compare."
detect = App(name="detect", help=_DETECT, sort_key=len(COMMANDS))
for _number, (_name, _help) in enumerate(COMMANDS.items()):
    _of, _, _last = _name.rpartition(" ")
    _place = f"focusdd.cli.commands:{_name.replace(' ', '_')}"
    (detect if _of else app).command(_place, name=_last, help=_help, sort_key=_number)
app.command(detect)


def main() -> None:
    """Runs a command: a user's mistake is one sentence and exit code 2, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name may hold letters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"(torch|timm|PIL|torchvision)\b.*")
    if world_size() > 1 and sys.argv[1:2] not in (["train"], ["fit"]):
        _fail("only train and fit run under torchrun: start this command without it")
    words = sys.argv[1:]
    with spelling(partial(_flag, words)):
        try:
            check_file(app)
            app(with_new_names(app, words), exit_on_error=False, print_error=False)
        except (CycloptsError, OSError, ValueError) as error:
            _fail(_sentence(error))


def flags_of(command: App) -> list[str]:
    """The flags that the help of a command shows, also those that switch something off, without dashes."""
    shown = command.assemble_argument_collection(parse_docstring=False).filter_by(show=True)
    return [name[2:] for one in shown for name in one.names if name.startswith("--")]


def _flag(words: list[str], name: str, after: str) -> str:
    """A flag in a message as the command that was typed has it: --distill.grid for --grid in `compare`."""
    command = command_in(app, words)
    known = flags_of(command) if command.default_command else []
    found = place(name, known)
    if found is None and (other := owner(name)):
        return f"--{name.removeprefix(f'{other}.')}{after} of `focusdd {other}`"
    return f"--{found or name}{after}"


def _sentence(error: Exception) -> str:
    """What the user did wrong; any other error is raised again."""
    from pydantic import ValidationError  # late: for most commands, and for help, it is not needed

    cause = error.__cause__ if isinstance(error, CycloptsError) else error
    if isinstance(cause, ValidationError):
        return str(plain_settings_error(cause))
    if isinstance(error, OSError):
        return str(plain_os_error(error))
    if isinstance(error, MissingArgumentError) and error.argument and error.argument.name == "--out":
        return "--out FOLDER is missing" if error.keyword is None else str(error)
    if isinstance(error, CycloptsError | FocusError):
        return str(error)
    raise error


def _fail(sentence: str) -> None:
    from rich.console import Console

    if fails_first():
        screen = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
        screen.print(f"error: {sentence}", markup=False)
    sys.exit(2)
