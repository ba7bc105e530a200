"""Shards on a Ray cluster come out as the same bytes as at home, whoever is killed in between."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from focusdd import (
    CompareSettings,
    DistillSettings,
    EngineSettings,
    ExtractSettings,
    FocusError,
    LabelSettings,
    TrainSettings,
    compare,
    distill,
    extract,
    label,
    open_source,
)
from focusdd.comparison.compare import compare as run_compare
from focusdd.core.files import read_json, write_whole
from focusdd.core.lock import locked
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.demo.run import WEIGHTS
from focusdd.execute import Work, make_missing, remote
from focusdd.execute.ray import _hand_out, _plan, run_on_ray
from focusdd.execute.remote import SourceName, load_same, once_free, require_shared, require_there
from focusdd.extraction import parts
from focusdd.extraction.inference import DecodedImage
from focusdd.extraction.loading import Loaded, Loader
from focusdd.settings import (
    DetectCompareSettings,
    DetectDistillSettings,
    DetectTrainSettings,
    ExtractorSettings,
)
from focusdd.sources import DemoSource
from focusdd.sources.base import Record
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill as run_distill

TEACHER, VIT = str(WEIGHTS / "teacher"), str(WEIGHTS / "vit")
RAY = EngineSettings(engine="ray")
VARIES = {"run.json"}
EXTRACT = ExtractSettings(extractor=VIT, tile=32, device="cpu", batch_size=8)
DISTILL = DistillSettings(method="random", ipc=2, size=64)
COMPARE = CompareSettings(
    methods=("focus", "full"),
    ipc=(1,),
    students=("test_resnet",),
    labels=("hard",),
    seeds=2,
    extractor=VIT,
    device="cpu",
    distill=DistillSettings(size=64, keep=0),
    train=TrainSettings(size=32, epochs=2, batch_size=10),
)
LABEL = LabelSettings(teacher=TEACHER, kind="both", size=32, num_crops=3, device="cpu")


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in VARIES)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each; the test process is the driver, on the first."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    cluster.wait_for_nodes()
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes."""
    out = tmp_path_factory.mktemp("home")
    source = photographs(out / "photos")
    extract(source, out / "index", EXTRACT)
    made = distill(source, out / "tiny", DISTILL)
    label(made, LABEL)
    return out


def photographs(root: Path) -> Any:
    """A folder of demo images, one of which is broken."""
    demo = DemoSource(6)
    for key, _ in demo.records:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(demo.read(key))
    (root / "0-zero" / "broken.jpg").write_bytes(b"no image")
    return open_source(str(root))


@dataclass(frozen=True)
class Files:
    """Writes a file per shard; shard 2 kills its worker as often as there are files to remove in `deaths`."""

    out: Path
    deaths: Path
    sentence: str = ""

    def __call__(self) -> Work:
        return self.work

    def work(self, shards: Any, advance: Callable[[int, str], None]) -> None:
        for shard in shards:
            if shard == 2:
                if self.sentence:
                    raise FocusError(self.sentence)
                for death in sorted(self.deaths.iterdir()):
                    death.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            write_whole(self.out / f"{shard}.txt", str(shard**2))
            advance(1, f"shard {shard}")


def files(tmp_path: Path, deaths: int = 0, sentence: str = "") -> Files:
    for name in ("out", "deaths"):
        (tmp_path / name).mkdir()
    for number in range(deaths):
        (tmp_path / "deaths" / str(number)).touch()
    return Files(tmp_path / "out", tmp_path / "deaths", sentence)


def test_the_local_engine_works_on_all_shards_at_once(tmp_path: Path) -> None:
    calls: list[Any] = []

    def refuse() -> Work:
        raise AssertionError("nothing is opened again at home")

    def here(shards: Sequence[int], _: Any) -> None:
        calls.append(list(shards))
        for shard in shards:
            missing[shard][0].touch()

    missing = [[tmp_path / str(number)] for number in range(3)]
    assert make_missing(missing, [2] * 3, "images", "draw", here, refuse) == 6
    assert make_missing(missing, [2] * 3, "images", "draw", here, refuse, RAY) == 0
    assert calls == [[0, 1, 2]]


def test_a_worker_that_dies_over_a_shard_is_restarted(cluster: Any, tmp_path: Path) -> None:
    worker, said = files(tmp_path, deaths=2), []
    run_on_ray(range(6), worker, lambda *done: said.append(done), RAY, "cpu")
    assert {path.name: path.read_text() for path in worker.out.iterdir()} == {
        f"{n}.txt": str(n**2) for n in range(6)
    }
    assert sorted(said) == [(1, f"shard {n}") for n in range(6)]


def test_a_shard_that_kills_every_worker_is_named(cluster: Any, tmp_path: Path) -> None:
    worker = files(tmp_path, deaths=6)
    with pytest.raises(FocusError, match="ended 6 times, at last over shard 2"):
        run_on_ray(range(2, 4), worker, lambda *_: None, RAY, "cpu")


def test_a_users_mistake_comes_back_as_it_is(cluster: Any, tmp_path: Path) -> None:
    worker = files(tmp_path, sentence="photos/x.jpg has changed: run it again")
    with pytest.raises(FocusError) as caught:
        run_on_ray(range(2, 4), worker, lambda *_: None, RAY, "cpu")
    assert str(caught.value) == worker.sentence
    assert type(caught.value) is FocusError


def test_an_index_is_the_same_however_the_cores_are_shared_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, before = open_source(str(home / "photos")), torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            extract(source, tmp_path / str(threads), EXTRACT)
            assert torch.get_num_threads() == threads
            assert digests(tmp_path / str(threads)) == digests(home / "index")
        monkeypatch.setattr("focusdd.extraction.parts.MOST_THREADS", 1)  # all threads on one batch
        extract(source, tmp_path / "together", EXTRACT)
        monkeypatch.setattr(parts, "_on_every_core", parts._beside_the_model)  # as for a GPU
        extract(source, tmp_path / "beside", EXTRACT)
        monkeypatch.setattr("focusdd.extraction.loading.FEW", 1)  # processes decode
        extract(source, tmp_path / "apart", EXTRACT)
    finally:
        torch.set_num_threads(before)
    for name in ("together", "beside", "apart"):
        assert digests(tmp_path / name) == digests(home / "index")


def test_what_is_not_wanted_any_more_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a GPU hundreds of images are decoded ahead: whoever stops need not wait for them."""
    read: list[str] = []

    def load(records: Sequence[Record]) -> Loaded:
        read.extend(record.key for record in records)
        time.sleep(0.01 * len(records))
        return Loaded([DecodedImage(record, None, 0, 0, "") for record in records], 0.0, 0.0)

    monkeypatch.setattr(parts, "loader", lambda *_: nullcontext(Loader(load, 2, 8)))
    records = [Record(str(number), 0) for number in range(2000)]
    one = SimpleNamespace(device=torch.device("cpu"))
    with closing(parts._beside_the_model(one, parts._batches(records, 8))) as made:  # type: ignore[arg-type]
        assert len(next(made).skipped) == 8
    assert len(read) < 256  # of the 512 that were asked for


def test_compose_and_label_are_the_same_on_a_cluster(
    cluster: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusdd.composition.images.SHARD", 4)
    monkeypatch.chdir(tmp_path)  # relative names mean the same to a worker
    made = distill(open_source(str(home / "photos")), "tiny", DISTILL, engine=RAY)
    monkeypatch.setattr("focusdd.labels.label.BATCH", 64)
    for store in label(made, LABEL, engine=EngineSettings(engine="ray", workers=1)):
        assert store.info["images"] == 20
    assert digests(tmp_path / "tiny") == digests(home / "tiny")


@contextmanager
def meddling(at: dict[int, Callable[[], None]]) -> Iterator[Callable[[int, str], None]]:
    """A progress line that does something when so many shards are done."""
    done = 0

    def advance(items: int, note: str = "") -> None:
        nonlocal done
        # a worker that died when its part was written is asked again, and finds it there
        assert note.endswith("is the bottleneck)") or not items
        done += 1
        at.pop(done, lambda: None)()

    yield advance
    assert not at


def actors() -> list[psutil.Process]:
    """The processes of Ray's actors."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if one.status() != "zombie" and "ray::_Actor" in " ".join(one.cmdline()):
                found.append(one)
    return found


def rows_of(out: Path) -> list[dict[str, str]]:
    """Results without times, memory and the commit, which moves on where somebody works meanwhile."""
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {k: v for k, v in row.items() if k.partition("_")[0] not in ("seconds", "memory", "commit")}
        for row in rows
    ]


def test_a_comparison_on_a_cluster_is_that_of_one_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun on one machine, and all workers die on the way."""
    source, val, other = DemoSource(4), DemoSource(4, "val"), DemoSource(3, "val")
    compare(source, val, tmp_path / "home", COMPARE, other=other)
    for part in ("index", "distilled/focus-ipc1", "distilled/random-ipc1-seed0", "students/full*seed0"):
        [there] = (tmp_path / "home").glob(part)
        shutil.copytree(there, tmp_path / "ray" / there.relative_to(tmp_path / "home"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").glob("*/*/done.json")}
    killed: list[int] = []
    named: list[str] = []

    @contextmanager
    def watched(what: str, *_: Any) -> Iterator[Callable[[int, str], None]]:
        def advance(items: int, note: str) -> None:
            named.append(note)
            if what == "train" and not killed:
                for one in actors():
                    one.kill()
                    killed.append(one.pid)

        yield advance

    monkeypatch.setattr("focusdd.comparison.remote.progress", watched)
    monkeypatch.chdir(tmp_path)  # relative names mean the same to a worker
    table = compare(source, val, "ray", COMPARE, other=other, engine=RAY)
    assert len(killed) == 2 and len(table) == 6
    students = {path.name for path in Path("ray/students").iterdir()}
    assert named[0] == "random-ipc1-seed1" and sorted(named[1:]) == sorted(students)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "home")
    monkeypatch.setitem(globals(), "VARIES", {*VARIES, "results.csv"})
    assert digests(tmp_path / "ray") == digests(tmp_path / "home")


def test_extract_survives_dead_workers_and_a_dead_node(
    cluster: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = open_source(str(home / "photos")), tmp_path / "index"
    monkeypatch.setattr("focusdd.extraction.parts.SHARD", 8)
    reference = extract(source, tmp_path / "reference", EXTRACT)
    killed: list[int] = []

    def kill() -> None:
        for one in actors():
            one.kill()
            killed.append(one.pid)

    def remove() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    def refused() -> None:
        with pytest.raises(FocusError, match="in use by another"):
            extract(source, out, EXTRACT, engine=RAY)

    events = {1: refused, 2: kill, 4: remove}
    monkeypatch.setattr("focusdd.execute.progress", lambda *_: meddling(events))
    index = extract(source, out, EXTRACT, engine=RAY)
    assert len(killed) == 2
    assert digests(out) == digests(tmp_path / "reference")
    assert (
        index.info["skipped"]
        == reference.info["skipped"]
        == [["0-zero/broken.jpg", "not an image in any format known to Pillow"]]
    )
    assert read_json(out / "index.json") == read_json(home / "index" / "index.json")


def test_a_source_without_a_name_is_refused(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="is another source on node"):
        distill(DemoSource(12, seed=5), tmp_path / "x", DISTILL, engine=RAY)


def test_detection_is_the_same_on_a_cluster(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusdd.composition.images.SHARD", 2)
    views, settings = ExtractorSettings(extractor=VIT, device="cpu"), DetectDistillSettings(ipc=1, size=64)
    for name, engine in (("home", None), ("ray", RAY)):
        made = run_distill(
            DemoSource(3), tmp_path / name / "x", settings, task=DETECT, extract=views, engine=engine
        )
        assert made.info["images"] == 10
    assert digests(tmp_path / "home") == digests(tmp_path / "ray")


def test_detectors_are_compared_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    settings = DetectCompareSettings(
        methods=("random",),
        ipc=(1,),
        seeds=1,
        device="cpu",
        distill=DetectDistillSettings(size=64),
        train=DetectTrainSettings(size=64, steps=1, batch_size=2),
    )
    for name, engine in (("home", None), ("ray", RAY)):
        source, val = DemoSource(3), DemoSource(3, "val")
        run_compare(source, val, tmp_path / name, settings, task=DETECT, engine=engine)
    home, ray = (rows_of(tmp_path / name) for name in ("home", "ray"))
    assert len(home) == 1 and home == ray


# what a worker checks before it begins


def test_a_source_that_cannot_be_opened_by_its_name() -> None:
    source = DemoSource(3)
    assert SourceName.of(source, open_source).reopen().records == source.records
    source.name = "./nowhere"
    with pytest.raises(
        FocusError, match=r"cannot open the source './nowhere' by its name.*there is no folder"
    ):
        SourceName.of(source, open_source).reopen()


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(work: Workspace) -> dict[str, Any]:
        require_shared(work.out, work.key)
        with pytest.raises(FocusError, match="storage that all nodes share"):
            require_shared(tmp_path / "b", work.key)
        with pytest.raises(FocusError, match="storage that all nodes share"):
            require_shared(work.out, "another run's")
        monkeypatch.setattr(remote, "__version__", "9")
        with pytest.raises(FocusError, match="the same version on all nodes"):
            require_shared(work.out, work.key)
        return {}

    run_stage(Stage("x", 1, {}, {}), tmp_path / "a", make)
    monkeypatch.setattr(remote, "_SEEN_AFTER", 0.0)
    require_there([tmp_path / "a" / "stage.json"])
    with pytest.raises(FocusError, match="has written"):
        require_there([tmp_path / "a" / "part"])


def test_a_folder_that_a_lost_worker_seems_to_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def use() -> None:
        with locked(tmp_path / "a"):
            opened.append(tmp_path / "a")

    with locked(tmp_path / "a"):
        waiting = threading.Thread(target=once_free, args=(use,))
        waiting.start()
        waiting.join(0.2)
        assert not opened
        monkeypatch.setattr(remote, "_HELD_FOR", 0.0)
        with pytest.raises(FocusError, match="in use by another"):
            once_free(use)
    waiting.join()
    assert opened


def test_other_weights_are_noticed() -> None:
    with pytest.raises(FocusError, match="has other weights on node"):
        load_same(TEACHER, "0" * 16, "cpu", None)


# how a cluster is shared out


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "expected"),
    [
        ([node(16)], None, "auto", (1, {"CPU": 16})),
        ([node(16), node(8), node(8, alive=False)], None, "auto", (2, {"CPU": 8})),
        ([node(16), node(8)], 4, "cpu", (4, {"CPU": 4})),
        ([node(96, 8)], None, "auto", (8, {"GPU": 1, "CPU": 12})),
        ([node(96, 8), node(8, 2), node(64)], None, "auto", (10, {"GPU": 1, "CPU": 4})),
        ([node(96, 8)], 2, "cuda", (2, {"GPU": 1, "CPU": 12})),
        ([node(96, 8)], None, "cpu", (1, {"CPU": 96})),
        ([node(2)], None, "cuda", (1, {"GPU": 1, "CPU": 1})),  # a GPU may come: the cluster can grow
        ([node(2)], 16, "cpu", (16, {"CPU": 1})),
        ([node(0)], None, "auto", (1, {"CPU": 1})),
    ],
)
def test_one_worker_for_each_gpu_or_node(
    nodes: list[dict[str, Any]], workers: int | None, device: str, expected: Any
) -> None:
    assert _plan(nodes, workers, 99, device, can_grow=True) == expected
    assert _plan(nodes, workers, 1, device, can_grow=True)[0] == 1


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([node(16, 1)], None, (1, {"GPU": 1, "CPU": 16})),
        ([node(16, 1)], 6, (6, {"GPU": 0.1666, "CPU": 2})),
        ([node(96, 8)], 8, (8, {"GPU": 1, "CPU": 12})),
        ([node(96, 8)], 9, (9, {"GPU": 0.5, "CPU": 6})),
    ],
)
def test_workers_share_the_gpus_of_one_machine(
    nodes: list[dict[str, Any]], workers: int | None, expected: Any
) -> None:
    """No others can come."""
    assert _plan(nodes, workers, 99, "cuda", can_grow=False) == expected
    assert _plan(nodes, workers, 1, "cuda", can_grow=False)[1]["GPU"] == 1


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        ("RayActorError", [], "ended 6 times, at last as it began, often for want of memory"),
        # of an error of its own where Ray's monitor has seen it come
        (
            "OutOfMemoryError",
            ["low on memory"],
            "ended 6 times, at last as it began, often for want of memory",
        ),
        (
            "OutOfMemoryError",
            ["lost:\n  ImportError: no name 'f'\n"],
            r"begin \(ImportError: no name 'f'\): inst",
        ),
    ],
)
def test_a_worker_that_ray_gives_up_is_one_sentence(kind: str, said: list[str], words: str) -> None:
    import ray

    def get(_: object) -> None:
        raise getattr(ray.exceptions, kind)(*said)

    actor = SimpleNamespace(run=SimpleNamespace(remote=lambda _: object()))
    stub = SimpleNamespace(
        wait=lambda running, **_: (running[:1], []), get=get, kill=lambda _: None, exceptions=ray.exceptions
    )
    with pytest.raises(FocusError, match=words):
        _hand_out(stub, [actor], [0], lambda *_: None, "shard")


def test_ray_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FocusError, match=r"pip install 'focusdd\[ray\]'"):
        run_on_ray([0], lambda: lambda *_: None, lambda *_: None, RAY, "cpu")
