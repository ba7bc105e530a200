"""Flags that several commands share, and the panels of `--help` that flags stand in."""

from __future__ import annotations

import re
from collections.abc import Collection
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from focusdd import settings
from focusdd.settings import EngineSettings, HoldoutSettings, Settings, SourceSettings

_PANELS = {
    name: Group(name, sort_key=number)
    for number, name in enumerate(
        ("Output", "Source", "Comparison", "Selection", "Patches", "Extractor", "Labels", "Training",
         "Augmentation", "Engine")
    )
}  # fmt: skip


def _shown(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _but(names: Collection[str]) -> dict[str, Any]:
    """Of a group: that its fields are flags, but for those of these names."""
    return {"parse": re.compile(rf"^(?!(?:{'|'.join(names)})$)")} if names else {}


_TREES = [one for one in vars(settings).values() if isclass(one) and issubclass(one, Settings)]
for _tree in _TREES:
    for _name, _field in _tree.model_fields.items():
        _owner: type[Settings] = next(
            one for one in reversed(_tree.__mro__) if _name in vars(one).get("__annotations__", {})
        )
        _own = Parameter(
            group=_PANELS[_owner.panel],
            help=" ".join((_field.description or "").split()),
            show_default=_shown if _field.default not in (None, "", (), {}) else False,
            **_but(_tree.own.get(_name, ())),
        )
        _field.metadata.append(_own)  # where cyclopts looks for it


def _output(words: str) -> Parameter:
    return Parameter(help=words, group=_PANELS["Output"])


Flat = Parameter(name="*")
"""Of settings: their fields are flags of the command."""
Lists = Parameter(name="*", consume_multiple=True, negative_iterable=())
"""The same for settings with lists, as in `--ipc 1 10`."""
Out = Annotated[Path, _output("Folder for the result.")]
Overwrite = Annotated[bool, _output("Make the result anew, also where focusdd made it with other settings.")]
Index = Annotated[
    Path | None,
    _output("Index that an earlier command made of this source. Default: a new one beside the result."),
]
Engine = Annotated[EngineSettings | None, Flat]
SourceOptions = Annotated[SourceSettings | None, Flat]
Holdout = Annotated[HoldoutSettings | None, Flat]
Images = Annotated[
    str,
    Parameter(
        help="Images to classify: a folder of class folders, WebDataset tars or Parquet files. Or a pattern "
        "of such files, also in a store (s3://...), a CSV list of images, hf:NAME for a Hugging Face "
        "dataset, or demo for generated images."
    ),
]
BoxedImages = Annotated[
    str,
    Parameter(
        help="Images with boxes: COCO (a .json file or a folder with one per split), Pascal VOC (a folder "
        "with .xml files), YOLO (a data.yaml or its folder, or one with classes.txt), or demo for generated "
        "images."
    ),
]
Distilled = Annotated[Path, Parameter(help="Distilled dataset.")]
Folder = Annotated[Path, Parameter(help="Folder that holds outputs of focusdd, at any depth.")]
_VAL = "Source whose validation images the final weights are scored on."
Val = Annotated[str, Parameter(help=_VAL, group=_PANELS["Source"])]
OptionalVal = Annotated[str | None, Parameter(help=_VAL, group=_PANELS["Source"])]
ValOrSource = Annotated[str | None, Parameter(help=f"{_VAL} Default: SOURCE.", group=_PANELS["Source"])]
CopiedVal = Annotated[
    str | None,
    Parameter(
        help="Source whose validation images are copied beside the result, with their labels, and named in "
        "data.yaml.",
        group=_PANELS["Source"],
    ),
]
Other = Annotated[
    str | None,
    Parameter(
        help="Second source with the same classes. Students are scored on its validation images too.",
        group=_PANELS["Source"],
    ),
]
DemoOut = Annotated[Path, _output("Folder for everything the demo makes. An interrupted demo goes on in it.")]
Quick = Annotated[
    bool, _output("Run in seconds. It shows that the installation works, not what the method can do.")
]
_TO = "Name on the Hub, as OWNER/NAME. Default: nothing is sent."
To = Annotated[str | None, _output(_TO)]
Private = Annotated[bool, _output("Make a private repository.")]
Replace = Annotated[bool, _output("Replace files of a repository that exists.")]
Hidden = Parameter(parse=False)
"""No flag: what a command tells another one that it calls."""
