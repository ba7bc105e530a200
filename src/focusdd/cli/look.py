"""The commands that look at outputs, or hand them on."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from focusdd.cli.flags import Distilled, Folder
from focusdd.core.console import console, say

_TO = "Name on the Hub, as OWNER/NAME. Default: nothing is sent."


def publish(
    distilled: Distilled,
    /,
    *,
    to: Annotated[str | None, Parameter(help=_TO)] = None,
    private: Annotated[bool, Parameter(help="Make a private repository.")] = False,
    overwrite: Annotated[bool, Parameter(help="Replace files of a repository that exists.")] = False,
) -> None:
    from focusdd import publish

    made = publish(distilled, to, private=private, overwrite=overwrite)
    if made.columns is not None:
        say(f"load_dataset reads it, with the columns {', '.join(made.columns)}")
    what = f"{made.files} files, {made.bytes / 2**20:.1f} MiB"
    say(f"wrote {made.url}: {what}" if made.url else f"{what} would be uploaded. Next: add --to OWNER/NAME")


def report(folder: Folder, /) -> None:
    from focusdd import report

    say(f"wrote {report(folder)}: open it in a browser")


def status(folder: Folder, /) -> None:
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
