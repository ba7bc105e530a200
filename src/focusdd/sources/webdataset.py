"""WebDataset tars: images and labels side by side in tars, listed once, then read by their place."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of, read_json, write_whole
from focusdd.sources.classes import labelled
from focusdd.sources.disk import Notes
from focusdd.sources.files import File, find_files, read_names, read_range, said
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import descriptions
from focusdd.sources.names import has_image_suffix, is_hidden, is_unicode, path_name, split_word

_VERSION = 4  # of the listing: part of its name in the cache
_NAME = re.compile(r"((?:.*/)?[^./]+)\.[^/]*", re.DOTALL)  # a sample's name ends at the first dot
_LABELS = ("label", "class", "cls")  # in a .json
_LONGEST = 1 << 20  # bytes of a label file
_LOOKED_FOR = "a .cls, or a .json with " + ", ".join(f'"{name}"' for name in _LABELS)

Sample = tuple[str, int, int, "int | str | None"]  # image's name in the tar, offset, size, label
Listing = tuple[list[Sample], Notes]


class TarSource:
    """Tars of images with labels: `tars/`, `tars/train-*.tar`, `s3://bucket/train-{000..146}.tar`."""

    def __init__(self, name: str, split: str = "train") -> None:
        self.name = path_name(name)
        self.split = split
        found = find_files(name, ".tar", split)
        self._fs, self._files = found.fs, found.files
        self.place, self.has_val = found.place, found.has_val
        places: list[tuple[int, int, int]] = []
        keys: list[str] = []
        values: list[int | str | None] = []
        skipped: Notes = []
        with progress(f"list {self.name}", None, "files") as advance:
            for number, file in enumerate(self._files):
                samples, left_out = _listing(self._fs, file, advance)
                skipped += [(f"{file.key}/{key}", reason) for key, reason in left_out]
                keys += [f"{file.key}/{key}" for key, *_ in samples]
                places += [(number, offset, size) for _, offset, size, _ in samples]
                values += [value for *_, value in samples]
        if not keys:
            raise FocusError(
                f"the tars of {self.name} hold no images: expected e.g. 0001.jpg beside 0001.cls"
            )
        if all(value is None for value in values):
            values = [_class_folder(key) for key in keys]
            self.place += ", classes by folders"
            if None in values:
                raise FocusError(
                    f"the images in {self.name} have no labels: looked for {_LOOKED_FOR} beside each, and "
                    "for class folders without splits around them; unpack the tars into such folders"
                )
        why = f"no label: looked for {_LOOKED_FOR}"
        self.classes, self.class_names, labels, self.records, unlabelled = labelled(
            keys, values, read_names(found), self.name, why
        )
        self.skipped = (*skipped, *unlabelled)
        self._places = np.array(places, np.int64)[[label is not None for label in labels]]
        self._rows = {record.key: row for row, record in enumerate(self.records)}
        sizes = (int(size) for size in self._places[:, 2])
        facts = hash_of([[record.label for record in self.records], self.class_names])
        self.fingerprint = listing_hash(zip(self._rows, sizes, strict=True), facts)

    def read(self, key: str) -> bytes:
        if key not in self._rows:
            raise FocusError(f"{self.name} has no image {key}")
        number, offset, size = (int(value) for value in self._places[self._rows[key]])
        return read_range(self._fs, self._files[number].path, offset, size)


def _class_folder(key: str) -> str | None:
    """The folder that holds an image of a tar, or a tar that is called like a class of ImageNet."""
    end = key.lower().rindex(".tar/")
    tar, name = key[:end], key[end + 5 :]
    folder = name.split("/")[-2] if "/" in name else tar.rpartition("/")[2]
    known = "/" in name or folder in descriptions()
    return folder if known and not split_word(name) else None


def _listing(fs: Any, file: File, advance: Callable[[int], None]) -> Listing:
    """A tar's samples, from the cache where they are known for exactly this size and stamp."""
    state = hash_of([_VERSION, fs.unstrip_protocol(file.path), file.size, file.stamp])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "focusdd" / "tars" / f"{state}.json"
    with suppress(FocusError, ValueError, TypeError):  # none there, or not of this form
        samples, skipped = read_json(kept)
        advance(len(samples))
        return [tuple(sample) for sample in samples], [tuple(item) for item in skipped]
    listing = list_tar(fs, file.path, advance)
    if file.stamp:
        with suppress(FocusError, OSError):  # a cache that cannot be written costs time, nothing else
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, json.dumps(listing))
    return listing


def list_tar(fs: Any, path: str, advance: Callable[[int], None]) -> Listing:
    """The samples of a tar in its order, and what was left out, from headers and label files alone.

    Raises FocusError where the tar cannot be read, is damaged or cut short.
    """
    images: list[tuple[str, str, int, int]] = []
    labels: dict[str, int | str | None] = {}
    skipped: Notes = []
    seen: set[str] = set()
    with (
        said(path, "tar", tarfile.TarError),
        fs.open(path, "rb") as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        while (member := tar.next()) is not None:
            cast(Any, tar).members.clear()  # it keeps them all otherwise
            advance(1)
            name = member.name.removeprefix("./")
            match = _NAME.fullmatch(name)
            hidden = any(is_hidden(part) for part in name.split("/") if part.strip("."))
            if member.isdir() or match is None or hidden:
                continue
            problem = _problem(member, name in seen)
            seen.add(name)
            if problem:
                skipped.append((name.encode(errors="backslashreplace").decode(), problem))
                continue
            sample = match[1]
            whole, last = os.path.splitext(name)  # noqa: PTH122 - much faster than a path
            if has_image_suffix(name):
                images.append((sample, name, member.offset_data, member.size))
            elif last.lower() in (".cls", ".json") and member.size <= _LONGEST:
                data = tar.extractfile(member)
                assert data is not None
                if labels.get(whole) is None:
                    labels[whole] = _label(data.read(), last.lower()[1:])
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end mark")
    samples: dict[str, Sample] = {}
    for sample, name, offset, size in images:
        # a label beside the whole name goes before one beside the name up to its first dot
        own = os.path.splitext(name)[0]  # noqa: PTH122
        sample = own if own in labels or not labels else sample
        new = (name, offset, size, labels.get(sample))
        kept = samples.setdefault(sample, new)
        if kept != new and name.count(".") < kept[0].count("."):  # 0.jpg goes before 0.depth.png
            samples[sample], kept, new = new, new, kept
        if kept != new:
            skipped.append((new[0], f"a second image of the sample {sample}"))
    return list(samples.values()), skipped


def _problem(member: tarfile.TarInfo, seen: bool) -> str:
    """Why a member is left out; empty where it is not."""
    if not is_unicode(member.name):
        return "its name is not valid unicode"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "its name leads out of the tar"
    if not member.isreg() or member.issparse():
        return "not a plain file"
    return "a second file of this name" if seen else ""


def _label(data: bytes, ending: str) -> int | str | None:
    """The label that a .cls or .json file holds; None without."""
    try:
        text = data.decode("utf-8-sig").strip()
        value = json.loads(text) if ending == "json" else text
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = next((value[name] for name in _LABELS if value.get(name) is not None), None)
    elif ending == "json":
        return None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?\d{1,9}", value) else value or None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
