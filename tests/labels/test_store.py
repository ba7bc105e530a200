"""Labels that do not belong, and labels read by others."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelling import RECIPE, SETTINGS, TEACHER, label_files
from PIL import Image

from focusdd import FocusError, TrainSettings, label, publish, train
from focusdd.composition.dataset import card, open_distilled
from focusdd.core.manifest import update_manifest
from focusdd.labels.reader import LabelledViews
from focusdd.labels.store import open_store, write_array, write_joined
from focusdd.sources import DemoSource
from focusdd.tasks.classify.publish import _with_columns

ROOT = Path(__file__).parents[2]


def replaced(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "labels" / "tiles" / name
        info = json.loads(path.read_text())
        change(info)
        path.write_text(json.dumps(info))
        update_manifest(path.parent, name)

    return damage


def cut_short(folder: Path) -> None:
    path = folder / "labels" / "tiles" / "labels.npy"
    path.write_bytes(path.read_bytes()[:-7])


def repainted(folder: Path) -> None:
    Image.new("RGB", (128, 128)).save(sorted(folder.glob("train/*/*.jpg"))[3])


DAMAGE = {
    "another distilled dataset": replaced("labels.json", lambda info: info.update(distilled="0" * 16)),
    "in another order": replaced("labels.json", lambda info: info["classes"].reverse()),
    r"labels\.npy is changed or cut short: run the command that made it again": cut_short,
    r"\.jpg is changed or cut short: run the command that made it again": repainted,
    "not a folder of stored labels: make one with `focusdd label": lambda folder: shutil.rmtree(
        folder / "labels"
    ),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_labels_that_do_not_belong_are_refused(copy: Path, tmp_path: Path, said: str) -> None:
    DAMAGE[said](copy)
    with pytest.raises(FocusError, match=said) as error:
        train(copy, DemoSource(16, "val"), tmp_path / "out", TrainSettings(labels="tiles", **RECIPE))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_reader_in_the_documents_reads_what_we_read(labelled: Path, dense: Path, copy: Path) -> None:

    code = re.search(
        r"```python\n(import json.*?)```", (ROOT / "docs" / "reference" / "label-files.md").read_text(), re.S
    )[1]
    found: dict = {}
    exec(code, found)
    views, tiles = (open_store(open_distilled(labelled), kind) for kind in ("views", "tiles"))
    np.testing.assert_array_equal(found["read"](views.folder, 2, 7), views.logits(2, 7))
    np.testing.assert_array_equal(found["read"](tiles.folder, 4), tiles.logits(4))
    placed = open_store(open_distilled(dense), "views")
    np.testing.assert_array_equal(found["read"](placed.folder, 2, 7), placed.logits(2, 7))
    np.testing.assert_array_equal(found["read"](tiles.folder, slice(None), 0), tiles.logits(slice(None), 0))
    for bits, top in ((4, 32), (4, 3), (8, 5), (16, 5)):
        changed = SETTINGS.model_copy(update={"kind": "tiles", "bits": bits, "top": top})
        (store,) = label(copy, changed, overwrite=True)
        np.testing.assert_allclose(found["read"](store.folder, 4), store.logits(4), rtol=1e-6)


def test_parts_may_be_more_files_than_a_process_may_open_and_each_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    arrays = [np.full((1 + number % 2, 3), number, "<u2") for number in range(100)]
    paths = [tmp_path / f"part-{number:05d}.npy" for number in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        write_array(path, array)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20 + len(list(Path("/dev/fd").iterdir())), limits[1]))
    opened: list[Path] = []
    load = np.load
    try:
        with monkeypatch.context() as patched:
            patched.setattr(np, "load", lambda path, **rest: opened.append(path) or load(path, **rest))
            write_joined(tmp_path / "joined.npy", paths, 150)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert opened == paths
    np.testing.assert_array_equal(np.load(tmp_path / "joined.npy"), np.concatenate(arrays))


def test_publishing_looks_before_it_sends(copy: Path) -> None:
    before = label_files(copy), (copy / "train" / "metadata.jsonl").read_bytes()
    made = publish(copy)
    assert made.url is None
    assert {"image", "label", "tiles", "soft_labels"} <= set(made.columns)
    assert made.files > 30
    shown = (copy / "README.md").read_text()
    assert "license: other" in shown
    assert shown.count(f"Teacher: `{TEACHER}`") == shown.count("at 8 bits, for any temperature") == 2
    assert before == (label_files(copy), (copy / "train" / "metadata.jsonl").read_bytes())
    assert not list(copy.parent.glob(".publish-*"))
    with pytest.raises(FocusError, match="without to= nothing is sent"):
        publish(copy, "nobody/nothing")
    shutil.copy(sorted(copy.glob("train/*/*.jpg"))[0], sorted(copy.glob("train/*/*.jpg"))[1])
    with pytest.raises(FocusError, match="is changed or cut short"):
        publish(copy)


def test_no_network_is_one_sentence(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", offline)  # what the hub's client makes of it is its own
    with pytest.raises(FocusError, match="without to= nothing is sent"):
        publish(copy, "nobody/nothing")


def test_what_is_uploaded_loads_with_its_labels(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    sent = tmp_path / "sent"

    class Hub:
        def repo_exists(self, name: str, **_: object) -> bool:
            return name == "me/taken"

        def create_repo(self, *_: object, private: bool, **__: object) -> None:
            assert private

        def upload_folder(self, folder_path: Path, **_: object) -> None:
            shutil.copytree(folder_path, sent)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(FocusError, match="me/taken exists on the Hub: give another name, or overwrite=True"):
        publish(labelled, "me/taken")
    assert not sent.exists()
    assert publish(labelled, "me/tiny", private=True).url == "https://huggingface.co/datasets/me/tiny"
    loaded = datasets.load_dataset(str(sent), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.features["label"].names == list(open_distilled(labelled).classes)
    said = "".join(path.read_text() for path in sent.rglob("*.json") if path.is_file())
    assert TEACHER not in said + (sent / "README.md").read_text()
    tiles = open_store(open_distilled(labelled), "tiles")
    names = [path.name for path, _ in open_distilled(labelled).files()]
    for row in loaded.cast_column("image", datasets.Image(decode=False)):
        stored = tiles.logits(names.index(Path(row["image"]["path"]).name))
        assert [one["classes"] for one in row["soft_labels"]] == [list(range(10))] * 5
        np.testing.assert_allclose([one["logits"] for one in row["soft_labels"]], stored, atol=6e-4)
    LabelledViews(sent, TrainSettings(labels="stored", **RECIPE))  # a download is a distilled dataset


def test_a_card_of_ones_own_keeps_its_words(copy: Path) -> None:
    own = "---\nlicense: mit\n---\n# My photographs\n"
    (copy / "README.md").write_text(own)
    assert "soft_labels" in publish(copy).columns
    sent = _with_columns(own, card(open_distilled(copy).info, (), True))
    assert "license: mit" in sent and sent.endswith("# My photographs\n") and "class_label" in sent
    assert (copy / "README.md").read_text() == own


def test_what_focusdd_did_not_make_is_not_uploaded(copy: Path) -> None:
    files = publish(copy).files
    for name in (
        "report.html",
        "notes.txt",
        "labels/notes.txt",
        "student/model.safetensors",
        "labels/tiles/x",
    ):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("of this machine")
    assert publish(copy).files == files
