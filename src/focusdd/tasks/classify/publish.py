"""`publish`: a distilled dataset as others download it, on the Hugging Face Hub or only looked at."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focusdd.composition.dataset import Distilled, card, open_distilled, own_cards
from focusdd.core.errors import FocusError, no_room, plain_os_error, write_error
from focusdd.core.files import make_folder, read_json, remove, write_json, write_whole
from focusdd.core.lock import LOCK, locked
from focusdd.core.manifest import CARD, require_whole, update_manifest
from focusdd.labels.packed import stored_classes
from focusdd.labels.store import Store, open_store, stored_kinds
from focusdd.settings.keywords import with_keywords


class Published(NamedTuple):
    """What was uploaded, or would be."""

    files: int
    bytes: int
    columns: tuple[str, ...] | None
    """What `load_dataset` makes of it; None where `datasets` is not installed."""
    url: str | None
    """Where it is; None after a dry run."""


@with_keywords()
def publish(
    distilled: Distilled | Path | str,
    to: str | None = None,
    *,
    private: bool = False,
    overwrite: bool = False,
) -> Published:
    """Uploads a distilled dataset with its labels; without `to`, checks and counts what would be uploaded.

    What is uploaded is a copy of the files that focusdd made, in which metadata.jsonl has a column
    `soft_labels` with the tile labels, so that `load_dataset` gives them beside the images. Of paths on this
    machine it tells the last part alone.

    Args:
        to: "owner/name" on the Hub.
        private: make a private repository.
        overwrite: add to a repository that is there already, and replace its files of the same names.

    Raises:
        FocusError: an image or a label is damaged, there is no room for a copy, `load_dataset` cannot read
            it, the repository exists, or the Hub refuses.
    """
    if to is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", to, re.ASCII):
        raise FocusError(f"{to!r} is no name of a dataset on the Hub: give OWNER/NAME, as in me/tiny-photos")
    distilled = open_distilled(distilled)
    require_whole(distilled.folder, hashes=True)
    stores = [open_store(distilled, kind) for kind in stored_kinds(distilled)]
    with _scratch(distilled.folder) as scratch:
        folder = scratch / "dataset"
        _copy(distilled, stores, folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        columns = _columns(folder, scratch / "cache", len(distilled.files()))
        url = _upload(folder, to, private, overwrite) if to is not None else None
        return Published(len(files), size, columns, url)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder beside another, on the same disk; what a killed run left in it goes first."""
    scratch = folder.absolute().parent / f".publish-{folder.absolute().name}"
    with locked(scratch):
        for leftover in scratch.iterdir():
            if leftover.name != LOCK:
                remove(leftover)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def soft_labels(store: Store) -> list[list[dict[str, Any]]]:
    """The tile labels of every image, the whole first: classes and logits (up to a constant) of each."""
    classes, logits = stored_classes(np.asarray(store.records), store.logits(...))
    rounded = np.round(logits.astype(np.float64), 3)
    return [
        [{"classes": own.tolist(), "logits": values.tolist()} for own, values in zip(*image, strict=True)]
        for image in zip(classes, rounded, strict=True)
    ]


def _copy(distilled: Distilled, stores: list[Store], folder: Path) -> None:
    """Hard links where the file system has them; metadata.jsonl with the tile labels, the card anew."""

    def link(source: Path, target: Path) -> None:
        try:
            os.link(source, target)
        except OSError:
            try:
                shutil.copyfile(source, target)
            except OSError as error:
                raise write_error(target, error) from error

    for path in _own_files(distilled, stores):
        target = folder / path.relative_to(distilled.folder)
        make_folder(target.parent)
        link(path, target)
    # written whole under another name and then renamed: the originals behind the links stay as they are
    infos = [_without_paths(store.info) for store in stores]
    for store, info in zip(stores, infos, strict=True):
        _replace(folder / store.folder.relative_to(distilled.folder), "labels.json", info)
    info = _without_paths(distilled.info)
    _replace(folder, "distilled.json", info)
    tiles = next((store for store in stores if store.kind == "tiles"), None)
    made = own_cards(distilled.info, [store.info for store in stores])
    text, ours = (folder / CARD).read_text(encoding="utf-8"), card(info, infos, tiles is not None)
    write_whole(folder / CARD, ours if text in made else _with_columns(text, ours))
    if tiles is None:
        return
    names = [path.relative_to(distilled.folder / "train").as_posix() for path, _ in distilled.files()]
    labels = dict(zip(names, soft_labels(tiles), strict=True))
    metadata = folder / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "soft_labels": labels[row["file_name"]]}, ensure_ascii=False) for row in rows]
    write_whole(metadata, "\n".join(lines) + "\n")
    update_manifest(folder, "train/metadata.jsonl")


def _own_files(distilled: Distilled, stores: list[Store]) -> Iterator[Path]:
    """The files of the dataset and of its labels, but for run.json, which tells of this machine."""
    for folder in (distilled.folder, *(store.folder for store in stores)):
        named = read_json(folder / "done.json").get("files")
        if not named:
            raise FocusError(
                f"{folder} was made by an earlier version, which kept no list of its files: make it anew in "
                "another folder"
            )
        yield from (folder / name for name in ("stage.json", "done.json", *named))


def _with_columns(own: str, ours: str) -> str:
    """A card that people have edited, with what tells `datasets` how to read the folder."""
    import yaml

    head, body = _split(own)
    facts = (yaml.safe_load(head) or {}) | {"configs": yaml.safe_load(_split(ours)[0])["configs"]}
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n{body}"


def _split(text: str) -> tuple[str, str]:
    """The YAML at the head of a card, and the rest."""
    if not text.startswith("---\n"):
        return "", text
    head, _, body = text[4:].partition("\n---\n")
    return head, body


def _without_paths(info: dict[str, Any]) -> dict[str, Any]:
    """The same facts, with the last part of each path that was typed here."""
    own = dict(info)
    for name in ("source", "extractor", "judge", "teacher"):
        if isinstance(own.get(name), dict):
            own[name] = own[name] | {"name": _last_part(own[name]["name"])}
    return own | ({"index": None} if "index" in own else {})


def _last_part(name: str) -> str:
    public = ("hf:", "hf-hub:", "timm/", "demo:")
    return name if name.startswith(public) else name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _replace(folder: Path, name: str, info: dict[str, Any]) -> None:
    write_json(folder / name, info)
    update_manifest(folder, name)


def _columns(folder: Path, cache: Path, images: int) -> tuple[str, ...] | None:
    """Opens the folder with Hugging Face `datasets`, where that is installed."""
    if importlib.util.find_spec("datasets") is None:
        return None
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(str(folder), cache_dir=str(cache), split="train")
    except Exception as error:  # whatever its loaders raise means the same here
        for one in (error, error.__cause__):
            if isinstance(one, OSError) and no_room(one):
                raise plain_os_error(one) from error
        raise FocusError(
            f"load_dataset cannot read the folder: {str(error).splitlines()[0][:200]}"
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    if len(loaded) != images:
        raise FocusError(f"load_dataset finds {len(loaded)} of {images} images")
    return tuple(loaded.column_names)


def _upload(folder: Path, to: str, private: bool, overwrite: bool) -> str:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise FocusError("uploading needs huggingface_hub: pip install 'focusdd[hub]'")
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        if api.repo_exists(to, repo_type="dataset"):
            if not overwrite:
                raise FocusError(
                    f"the dataset {to} exists on the Hub: give another name, or --overwrite to replace its "
                    "files"
                )
        else:
            api.create_repo(to, repo_type="dataset", private=private)
        api.upload_folder(repo_id=to, repo_type="dataset", folder_path=folder)
    except FocusError:
        raise
    except Exception as error:  # the hub's client lets through what its HTTP library raises, which varies
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise FocusError(f"{to} cannot be uploaded ({reason}): without --to nothing is sent") from error
    return f"https://huggingface.co/datasets/{to}"
