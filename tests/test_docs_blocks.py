"""Every block of code in README and the documents runs as it stands, on few and small images.

SMALL puts small numbers and networks in place of large ones. Each page starts in a folder with photographs,
boxes, checkpoints and finished stages under the names that the documents use, but for what it makes itself.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from focusdd.cli.app import app
from focusdd.cli.file import check_file
from focusdd.demo.run import WEIGHTS
from folders import write_coco, write_photos

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {  # what begins so, and why
    r"pip install": "changes the environment",
    r"make (demo|test|lint|docs)": "runs the tests, or is run by others",
    r"torchrun": "starts processes of its own: tests/training/test_ranks.py",
    r"ray (up|exec|down)": "rents machines",
    r"focusdd .*--engine ray": "starts a cluster: tests/execute/test_execute.py",
    r"focusdd extract hf:": "downloads: tests/sources/test_hub.py",
    r"focusdd publish .*--to": "uploads: tests/labels/test_store.py",
    r"focusdd --version": "ends the process",
    r"hf auth": "asks for a password",
    r"python benchmarks/": "takes hours",
    r"import ddranking": "is no dependency",
}
SMALL = {
    r"\b(resnet18|resnet50|resnet101)\b": "test_resnet",
    r"test_resnet (test_resnet|convnet5)": "test_resnet",
    r"--(epochs|fit-epochs|seeds) \d+": r"--\1 1",
    r"--ipc \d+( \d+)*": "--ipc 1",
    r"--(size|train\.size) \d+": r"--\1 32",
    r"--num-crops \d+": "--num-crops 2",
    r"--ratio 0\.\d+( 0\.\d+)*": "--ratio 0.1",
    r"--methods focus.* full": "--methods focus",
    r"--corruptions": "",
    r"focusdd demo ": "focusdd demo --quick ",
    r"demo:200": "demo:16",  # as --quick has it
    r"--teacher demo/\S+": "--teacher runs/big",
    r"ipc10-seed0": "ipc1-seed0",
    r"\{000\.\.003\}": "{000..001}",
    r"ipc=10\b": "ipc=1, size=64",
    r"ipc=\(1, 10\)": "ipc=(1,)",
    r'methods=\("focus", "rded"\)': 'methods=("focus",), seeds=1',
    r"ratio=0\.034": "ratio=0.1, size=128",
    r"\bsize=128(?=,|\))(?!, extractor)": "size=32, epochs=1",
}
FILE = """
run = { teacher = "runs/big", extractor = "runs/vit", size = 64, epochs = 1 }
fit = { init = "runs/big" }
extract = { extractor = "runs/vit" }
distill = { extractor = "runs/vit", size = 64 }
subset = { extractor = "runs/vit" }
train = { epochs = 1 }

[compare]
distill = { size = 64 }
train = { epochs = 1 }

[detect.distill]
extractor = "runs/vit"
size = 128
[detect.subset]
extractor = "runs/vit"
[detect.train]
steps = 1
[detect.compare]
extractor = "runs/vit"
seeds = 1
distill = { size = 128 }
train = { steps = 1, size = 64 }
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of all blocks of a page that have a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(code: str) -> Iterator[str]:
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield shlex.join(words)


def not_run(code: str) -> bool:
    return any(re.match(start, code) for start in NOT_RUN)


def small(code: str) -> str:
    for long, short in SMALL.items():
        code = re.sub(long, short.replace("\\\\", "\\"), code)
    return code


def command(line: str) -> None:
    words = shlex.split(small(line))[1:]
    app(words, exit_on_error=False, print_error=False, result_action="return_value")


def pack(photos: Path, tars: Path, tables: Path, listed: Path) -> None:
    """Photographs as two tars, as a table, and as files with a list of their classes."""
    for folder in (tars, tables, listed):
        folder.mkdir()
    rows = [(path.parent.name, path.read_bytes()) for path in sorted(photos.glob("*/*"))]
    for number in range(2):
        with tarfile.open(tars / f"train-{number:03d}.tar", "w") as tar:
            for place, (label, data) in list(enumerate(rows))[number::2]:
                for suffix, content in (("png", data), ("cls", label.encode())):
                    info = tarfile.TarInfo(f"{place:05d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    columns = {"image": [data for _, data in rows], "label": [label for label, _ in rows]}
    pq.write_table(pa.table(columns), tables / "train-0.parquet")
    lines = ["file,label"]
    for place, (label, data) in enumerate(rows):
        (listed / f"{place:05d}.png").write_bytes(data)
        lines.append(f"{place:05d}.png,{label}")
    (listed / "labels.csv").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages start with."""
    folder = tmp_path_factory.mktemp("given")
    for split, per_class in (("train", 12), ("val", 2)):
        write_photos(folder / "photos", split, per_class)
        write_coco(folder / "coco", split, per_class)
    pack(folder / "photos" / "train", folder / "tars", folder / "tables", folder / "listed")
    shutil.copytree(WEIGHTS / "vit", folder / "runs" / "vit")
    for name in ("teacher", "big"):
        shutil.copytree(WEIGHTS / "teacher", folder / "runs" / name)
    (folder / "focusdd.toml").write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("focusdd extract photos --out runs/index")
        command("focusdd distill photos --index runs/index --ipc 1 --out runs/tiny")
    return folder


@pytest.fixture
def page_folder(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes the folder of a page the current one."""

    def enter(page: Path) -> None:
        shutil.copytree(given, tmp_path, dirs_exist_ok=True)
        text = page.read_text(encoding="utf-8")
        for out in re.findall(r"--out (\S+)", text) + re.findall(r'distill\("\w+", "([^"]+)"', text):
            shutil.rmtree(tmp_path / out, ignore_errors=True)
        monkeypatch.chdir(tmp_path)

    return enter


WITH_CODE = [page for page in PAGES if {"sh", "python"} & {language for language, _ in blocks(page)}]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, page_folder: Callable[[Path], None]) -> None:
    page_folder(page)
    names: dict[str, Any] = {"__name__": "a_page"}
    for language, code in blocks(page):
        if language == "python" and not not_run(code):
            exec(compile(small(code), str(page), "exec"), names)
        elif language == "sh":
            for line in commands(code):
                if not not_run(line):
                    assert line.startswith("focusdd "), f"not run, and without a reason: {line}"
                    command(line)


def test_what_does_not_run_has_a_reason_that_is_needed() -> None:
    code = [text for page in PAGES for language, text in blocks(page) if language == "python"]
    code += [line for page in PAGES for lang, text in blocks(page) if lang == "sh" for line in commands(text)]
    assert [start for start in NOT_RUN if not any(re.match(start, text) for text in code)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_in_a_page_can_be_read(page: Path, tmp_path: Path) -> None:
    for language, text in blocks(page):
        if language == "toml":
            tomllib.loads(text)
            (tmp_path / "focusdd.toml").write_text(text)
            check_file(app, tmp_path / "focusdd.toml")
        elif language == "yaml":
            assert yaml.safe_load(text)
        else:
            assert language in ("sh", "python", "console"), f"who checks a block of {language}?"


def test_scripts_in_a_page_have_the_flags() -> None:
    for page in PAGES:
        for language, text in blocks(page):
            for line in commands(text) if language == "sh" else ():
                if line.startswith("python "):
                    script = (ROOT / shlex.split(line)[1]).read_text()
                    assert all(f'"{flag}"' in script for flag in re.findall(r"--[\w-]+", line)), line
