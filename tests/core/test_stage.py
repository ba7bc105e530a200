"""Stages: resuming, naming what changed, mending what is damaged, and never touching what is not ours."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from focusdd.core.errors import FocusError, OtherOutput
from focusdd.core.files import read_json, remove, write_json, write_whole
from focusdd.core.lock import LOCK
from focusdd.core.stage import Make, Stage, Workspace, overwrite_if_other, run_stage
from folders import everything

SETTINGS = {"ipc": 10, "grid": 2}
INPUTS = {"source": "abc"}
FILES = ["README.md", "result.txt", "train/cat/0.png", "train/dog/0.png"]
OWN = {*FILES, "train", "train/cat", "train/dog", "stage.json", "done.json", "run.json"}


def stage(**changes: Any) -> Stage:
    return Stage(**{"name": "distill", "version": 1, "settings": SETTINGS, "inputs": INPUTS, **changes})


class Maker:
    """Makes the missing ones of FILES and notes which."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, work: Workspace) -> dict[str, Any]:
        work.declare(FILES)
        for name in FILES:
            if not (work.out / name).exists():
                self.made.append(name)
                (work.out / name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(work.out / name, f"{work.key} {name}")
        work.record.note(images=3)
        return {"images": 3}


def made(out: Path, *, overwrite: bool = False, **changes: Any) -> list[str]:
    """Runs the stage; what had to be made."""
    maker = Maker()
    assert run_stage(stage(**changes), out, maker, overwrite) == out
    return maker.made


def never(_: Workspace) -> dict[str, Any]:
    pytest.fail("was made in spite of it")


def failing(*files: str, error: type[BaseException] = FocusError) -> Make:
    """Fails after having made some files."""

    def make(work: Workspace) -> dict[str, Any]:
        work.declare(files)
        for name in files:
            (work.out / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(work.out / name, "half of it")
        (work.out / "parts").mkdir()
        raise error("no such luck")

    return make


# making, resuming, closing


def test_a_stage_is_made_resumed_and_closed(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(FocusError, match="no such luck"):
        run_stage(stage(), out, failing("train/cat/0.png"))
    assert not (out / "done.json").exists()
    assert made(out) == [name for name in FILES if name != "train/cat/0.png"]
    before = everything(out)
    assert set(before) == {*OWN, "parts"}, "and no lock is left"
    run_stage(stage(), out, never)
    assert everything(out) == before
    done = json.loads(before["done.json"] or b"")
    assert done["key"] == stage().key
    assert done["settings"] == SETTINGS
    assert done["counts"] == {"images": 3}
    assert list(done["files"]) == FILES
    assert read_json(out / "run.json")["images"] == 3


def test_the_key_depends_on_everything_that_changes_the_result() -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"settings": {**SETTINGS, "ipc": 50}},
        {"inputs": {"source": "other"}},
        {"version": 2},
        {"name": "extract"},
    ]
    assert len({stage(**variant).key for variant in variants}) == len(variants)
    assert stage(settings={"grid": 2, "ipc": 10}, scratch=("parts",)).key == stage().key


def test_what_only_an_unfinished_stage_needs_goes_with_its_end(tmp_path: Path) -> None:
    scratch = ("parts", "resume.pt", "missing")

    def make(work: Workspace) -> dict[str, Any]:
        (work.out / "parts").mkdir()
        (work.out / "parts" / ".part-00007.parquet.c05f36a2.tmp").write_text("half, of a worker that died")
        (work.out / "resume.pt").write_text("state")
        return Maker()(work)

    run_stage(stage(scratch=scratch), tmp_path, make)
    assert set(everything(tmp_path)) == OWN
    (tmp_path / "resume.pt").write_text("killed before it was removed")
    run_stage(stage(scratch=scratch), tmp_path, never)
    assert set(everything(tmp_path)) == OWN


def test_leftovers_of_a_worker_that_died_are_removed(tmp_path: Path) -> None:
    def make(work: Workspace) -> dict[str, Any]:
        found = Maker()(work)
        (work.out / "train" / "cat" / ".0.png.c05f36a2.tmp").write_text("half")
        return found

    run_stage(stage(), tmp_path, make)
    assert set(everything(tmp_path)) == OWN


# nothing made, nothing left


@pytest.mark.parametrize("error", [FocusError, KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_fails_before_it_made_anything_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        run_stage(stage(), tmp_path / "a" / "b", failing(error=error))
    assert everything(tmp_path) == {}
    (tmp_path / "mine").mkdir()
    with pytest.raises(error):
        run_stage(stage(), tmp_path / "mine", failing(error=error))
    assert everything(tmp_path) == {"mine": None}, "the folder was there before"


@pytest.mark.parametrize("changed", [{"settings": {"ipc": 50}}, {"name": "extract"}, {"inputs": {}}])
@pytest.mark.parametrize("format", ["now", "before manifests"])
def test_a_folder_with_nothing_but_its_stage_json_is_taken_over(
    tmp_path: Path, changed: dict[str, Any], format: str
) -> None:
    """As kill -9 leaves it."""
    description = {"stage": "distill", "version": 1, "settings": {}, "focusdd": "1", "key": "x"}
    write_json(tmp_path / "stage.json", description | ({"files": FILES} if format == "now" else {}))
    (tmp_path / LOCK).write_text("")
    (tmp_path / ".stage.json.0123abcd.tmp").write_text('{"sta')
    (tmp_path / "parts").mkdir()
    made(tmp_path, **changed)
    assert set(everything(tmp_path)) == OWN


def test_a_run_that_was_killed_at_once_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / ".stage.json.0123abcd.tmp").write_text('{"sta')
    (tmp_path / LOCK).write_text("")
    assert made(tmp_path) == FILES
    assert set(everything(tmp_path)) == OWN


# what changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"settings": {**SETTINGS, "ipc": 50}}, r"other settings \(ipc was 10, now 50\)"),
        ({"settings": {**SETTINGS, "keep": 0.5}}, r"keep was None, now 0\.5"),
        ({"inputs": {"source": "xyz"}}, r"other inputs: the source's images \(or --holdout\)"),
        ({"version": 2}, "version 1 of this stage, now 2"),
        ({"name": "extract"}, "output of another command, 'distill'"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_what_changed_is_named(tmp_path: Path, changed: dict[str, Any], words: str, finished: bool) -> None:
    out = tmp_path / "out"
    made(out)
    if not finished:
        (out / "done.json").unlink()
    before = everything(out)
    with pytest.raises(OtherOutput, match=words) as caught:
        run_stage(stage(**changed), out, never)
    assert "--overwrite" in str(caught.value) and str(out) in str(caught.value)
    assert everything(out) == before


@pytest.mark.parametrize("finished", [True, False])
def test_overwrite_removes_what_focusdd_made_and_nothing_else(tmp_path: Path, finished: bool) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    made(out, scratch=("parts",))
    if not finished:
        (out / "done.json").unlink()
        (out / "parts").mkdir()
        (out / "parts" / "0").write_text("scratch")
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (out / "link").symlink_to(elsewhere)
    (out / "notes.txt").write_text("mine")
    (out / "train" / "cat" / "drawing.png").write_bytes(b"mine")
    (out / "labels").mkdir()

    def make(work: Workspace) -> dict[str, Any]:
        mine = {"link", "notes.txt", "train", "train/cat", "train/cat/drawing.png", "labels"}
        assert set(everything(out)) - {"link/kept"} == mine | {"stage.json", LOCK}
        assert read_json(out / "stage.json")["settings"]["ipc"] == 50
        return Maker()(work)

    run_stage(stage(settings={**SETTINGS, "ipc": 50}), out, make, overwrite=True)
    assert everything(elsewhere) == {"kept": b"kept"}


def test_overwrite_of_the_same_stage_makes_it_anew_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FocusError):
        run_stage(stage(), out, failing("train/cat/0.png"))
    assert made(out, overwrite=True) == ["README.md", "result.txt", "train/dog/0.png"], "goes on"
    assert made(out, overwrite=True) == FILES


def test_a_stage_without_an_out_of_its_own_suggests_none(tmp_path: Path) -> None:
    """`label` writes into the distilled dataset."""
    made(tmp_path / "labels", name="label")
    with pytest.raises(OtherOutput, match=r": use --overwrite$"):
        made(tmp_path / "labels", name="label", version=2)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FocusError, match=r"'labels'.: move it elsewhere$"):
        made(tmp_path, name="label")


def test_a_part_of_a_whole_is_replaced_only_when_it_is_another(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for ipc, overwrite, wanted in ((10, False, FILES), (10, True, []), (50, True, FILES)):
        own = {**SETTINGS, "ipc": ipc}
        assert overwrite_if_other(partial(made, out, settings=own), overwrite) == wanted
    with pytest.raises(OtherOutput):
        overwrite_if_other(partial(made, out), False)


def test_an_output_that_kept_no_list_of_its_files(tmp_path: Path) -> None:
    """Of an earlier version: complete if it is the same stage, else nobody knows what to remove."""
    out = tmp_path / "out"
    made(out)
    for name in ("stage.json", "done.json"):
        known = read_json(out / name)
        write_json(
            out / name, {key: value for key, value in known.items() if key not in ("files", "scratch")}
        )
    before = everything(out)
    run_stage(stage(), out, never)
    with pytest.raises(FocusError, match="kept no list of its files: remove the folder yourself, or use"):
        run_stage(stage(version=2), out, never, overwrite=True)
    assert everything(out) == before


@pytest.mark.parametrize("name", ["../kept", "link/kept", "/kept", "..", ".", "", "a/../../kept"])
def test_a_list_that_leads_elsewhere_removes_nothing_there(tmp_path: Path, name: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    made(out)
    elsewhere.mkdir()
    for folder in (elsewhere, tmp_path):
        (folder / "kept").write_text("kept")
    (out / "link").symlink_to(elsewhere)
    name = name.replace("/kept", f"{tmp_path}/kept") if name == "/kept" else name
    (out / "mine").write_text("mine")
    write_json(out / "stage.json", read_json(out / "stage.json") | {"files": [name], "scratch": [name]})
    made(out, overwrite=True)
    assert (tmp_path / "kept").read_text() == (elsewhere / "kept").read_text() == "kept"
    assert (out / "mine").read_text() == "mine"


def test_an_overwrite_that_was_killed_is_an_unfinished_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither complete with missing files nor somebody else's folder."""
    made(tmp_path)
    real, calls = Path.unlink, []

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self.name in ("done.json", "result.txt", "stage.json"):
            calls.append(self.name)
            if len(calls) > 1:
                raise KeyboardInterrupt
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage(settings={**SETTINGS, "ipc": 50}), tmp_path, never, overwrite=True)
    monkeypatch.undo()
    assert "result.txt" not in made(tmp_path)


# what is damaged


def test_what_is_missing_or_changed_is_made_again_and_only_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path)
    before = everything(tmp_path)
    (tmp_path / "train" / "cat" / "0.png").unlink()
    result = (tmp_path / "result.txt").read_text()
    (tmp_path / "result.txt").write_text(result.upper())  # of the same size
    (tmp_path / "README.md").write_text("people edit it")
    (tmp_path / "train" / "dog" / "drawing.png").write_bytes(b"mine")
    capsys.readouterr()
    assert made(tmp_path) == ["result.txt", "train/cat/0.png"]
    said = " ".join(capsys.readouterr().out.split())
    assert "2 files" in said and "result.txt" in said and "made again" in said
    after = everything(tmp_path)
    assert after.pop("train/dog/drawing.png") == b"mine"
    assert after.pop("README.md") == b"people edit it"
    del before["README.md"]
    assert {**after, "run.json": None} == {**before, "run.json": None}
    run_stage(stage(), tmp_path, never)


def test_a_record_tells_what_the_whole_cost(tmp_path: Path) -> None:
    """Not what a repair did; and it says where an interruption has taken a part from it."""
    with pytest.raises(FocusError):
        run_stage(stage(), tmp_path / "resumed", failing("train/cat/0.png"))
    for out in (tmp_path / "resumed", tmp_path / "at once"):
        made(out)
        before = read_json(out / "run.json")
        assert before.get("resumed", False) == (out.name == "resumed")
        write_json(out / "run.json", before | {"seconds_total": 1e6})
        (out / "result.txt").unlink()
        assert made(out) == ["result.txt"]
        assert read_json(out / "run.json") == before | {"seconds_total": 1e6}


def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "result.txt").unlink()
    (tmp_path / "result.txt").mkdir()
    (tmp_path / "result.txt" / "mine").write_text("mine")
    with pytest.raises(FocusError, match=r"result\.txt"):
        made(tmp_path)
    assert (tmp_path / "result.txt" / "mine").read_text() == "mine"


def test_a_repair_that_fails_leaves_the_rest(tmp_path: Path) -> None:
    made(tmp_path)
    remove(tmp_path / "train" / "cat")
    with pytest.raises(ZeroDivisionError):
        run_stage(stage(), tmp_path, lambda _: {"never": 1 // 0})
    assert made(tmp_path) == ["train/cat/0.png"]


def test_a_stage_that_does_not_keep_its_word_is_not_closed(tmp_path: Path) -> None:
    def make(work: Workspace) -> dict[str, Any]:
        found = Maker()(work)
        (work.out / "result.txt").unlink()
        return found

    with pytest.raises(FocusError, match=r"result\.txt has gone"):
        run_stage(stage(), tmp_path, make)
    assert not (tmp_path / "done.json").exists()


# other people's folders


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"holiday.jpg": "picture"},
        {".hidden": "settings"},
        {".lock": "another program's"},
        {"stage.json": '{"scene": 4}', "film.mp4": "film"},
        {"stage.json": "[1, 2]"},
        {"stage.json": "no JSON"},
        {"done.json": "{}"},
    ],
)
def test_other_peoples_folders_are_refused_and_untouched(
    tmp_path: Path, files: dict[str, str], overwrite: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = everything(tmp_path)
    with pytest.raises(FocusError, match="not made by focusdd") as caught:
        run_stage(stage(), tmp_path, never, overwrite)
    assert str(tmp_path) in str(caught.value)
    assert everything(tmp_path) == before
