"""The processes of a torchrun come out where one process does, and speak with one voice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import focusdd
from focusdd import DistillSettings, FitSettings, FocusError, TrainSettings, distill, fit, label, train
from focusdd.core.files import read_json
from focusdd.core.stage import Stage, run_stage
from focusdd.demo.run import WEIGHTS
from focusdd.models.load import load_model, new_net
from focusdd.settings import LabelSettings
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource
from focusdd.sources.pixels import load_source
from focusdd.training import fit as fitting
from focusdd.training import ranks as ranks_module
from focusdd.training.loop import cosine, run_epochs
from focusdd.training.losses import online_loss, stored_loss
from focusdd.training.ranks import ALONE, Ranks, process_group

TEACHER = str(WEIGHTS / "teacher")
SOURCE, VAL = DemoSource(2), DemoSource(12, "val")
CPU = torch.device("cpu")
# a ViT, for layer norm knows no batch; two processes cannot halve a batch of 5
TRAIN = TrainSettings(
    teacher=TEACHER, student="test_vit", size=32, epochs=4, batch_size=5, lr=1e-3, device="cpu"
)
STORED = TRAIN.model_copy(update={"labels": "stored", "teacher": ""})
FIT = FitSettings(
    model="test_vit", size=32, epochs=2, batch_size=7, mix_prob=0.5, ema=0.5, teacher=TEACHER, device="cpu"
)
PATHS = (Path(focusdd.__file__).parents[1], Path(__file__).parent)
STARTED = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = distill(
        SOURCE, tmp_path_factory.mktemp("tiny") / "tiny", DistillSettings(method="view", ipc=1, size=64)
    )
    label(made, LabelSettings(teacher=TEACHER, size=32, device="cpu"))
    return made


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bfloat16 here nor in processes started from here: its rounding would hide a mistake."""
    for module in ("focusdd.models.load", "focusdd.training.losses"):
        monkeypatch.setattr(f"{module}.autocast", lambda _: nullcontext())
    monkeypatch.setitem(STARTED, "ONEDNN_MAX_CPU_ISA", "AVX2")


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """Two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=STARTED)


def outputs(folder: Path) -> torch.Tensor:
    """What a checkpoint says of the validation images; a weight without a gradient may be anything."""
    return load_model(str(folder), CPU).logits(load_source(VAL, 32, "read").images)


def require_alike(one: Path, other: Path) -> None:
    torch.testing.assert_close(outputs(one), outputs(other), rtol=0, atol=2e-5)
    assert read_json(one / "done.json")["key"] == read_json(other / "done.json")["key"]


def test_two_processes_take_over_from_one_and_end_where_it_does(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    result = train(tiny, VAL, one, TRAIN)

    def stops(t: float) -> float:
        if t > 0.5:
            raise KeyboardInterrupt
        return cosine(t)

    monkeypatch.setattr("focusdd.training.loop._SAVE_SECONDS", 0.0)
    monkeypatch.setattr("focusdd.training.train.cosine", stops)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, VAL, two, TRAIN)
    assert (two / "resume.pt").exists()
    flags = TRAIN.model_dump(include=TRAIN.model_fields_set)
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = torchrun("-m", "focusdd", "train", tiny.folder, "--val", VAL.name, "--out", two, *words)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not re.match(r" |\w+: \d+/\d+", line)]
    said = [line.split()[0] for line in lines]  # without progress, which depends on time
    known = ["val", *["warning:"] * 2, "writes", "teacher", "test_vit", "resuming:", "test_vit:", "wrote"]
    assert said == known
    assert read_json(two / "result.json") == result.to_dict()
    assert read_json(two / "run.json")["processes"] == 2
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    require_alike(one, two)


TOGETHER = """
import sys
from pathlib import Path
import torch
import test_ranks as here
from focusdd import fit, open_source, train
from focusdd.core.distributed import rank
from focusdd.training import loop

loop._SAVE_SECONDS = 0.0
tiny, out = sys.argv[1], Path(sys.argv[2])
here.toy(out / "toy.pt", stop=3)
fit(open_source("demo:2"), out / "fit", here.FIT)
result = train(tiny, open_source("demo:12", "val"), out / "stored", here.STORED)
torch.save(result.to_dict(), out / f"result{rank()}.pt")
"""


class Toy(nn.Module):
    """With a layer that takes no part, as some of timm's networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)


class Stopped(Exception):
    pass


def toy(checkpoint: Path, stop: int) -> nn.Module:
    """A small network in float64, trained until the epoch `stop`."""
    torch.manual_seed(0)
    net = Toy().double()
    inputs = torch.randn(33, 4, dtype=torch.float64)
    labels = (inputs.sum(1) > 0).long()
    with process_group(CPU) as ranks:
        forward = ranks.parallel(net, CPU)

        def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
            mine = rows[ranks.shard(len(rows))]
            return nn.functional.cross_entropy(forward(inputs[mine]), labels[mine])

        def rate(t: float) -> float:
            if t * 6 >= stop:
                raise Stopped
            return 1.0

        with suppress(Stopped):
            run_epochs(
                net, loss, len(inputs), epochs=6, batch_size=5, lr=0.01, weight_decay=0.01, rate=rate, seed=3,
                device=CPU, checkpoint=checkpoint, what="learn", clip=0.1, ranks=ranks,
            )  # fmt: skip
    return net


def test_one_process_takes_over_from_two_and_both_fit_and_read_labels_alike(
    tiny: Any, tmp_path: Path
) -> None:
    """33 images in batches of 5: shares of 2 and 3, and 1 and 2 of the last."""
    (tmp_path / "program.py").write_text(TOGETHER)
    (tmp_path / "two").mkdir()
    done = torchrun(tmp_path / "program.py", tiny.folder, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    fit(SOURCE, tmp_path / "one" / "fit", FIT)
    result = train(tiny, VAL, tmp_path / "one" / "stored", STORED)
    assert [torch.load(tmp_path / "two" / f"result{rank}.pt") for rank in (0, 1)] == [result.to_dict()] * 2
    for name in ("fit", "stored"):
        require_alike(tmp_path / "one" / name, tmp_path / "two" / name)
    whole, resumed = toy(tmp_path / "whole.pt", 9), toy(tmp_path / "two" / "toy.pt", 9)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-12)
    stopped = toy(tmp_path / "two" / "toy.pt", 3)
    assert (whole.layers[0].weight - stopped.layers[0].weight).abs().max() > 0.01  # epochs apart


# one voice


def test_what_no_torchrun_can_do_is_said_once(tmp_path: Path) -> None:
    done = torchrun("-m", "focusdd", "distill", "demo:2", "--method", "random", "--out", tmp_path / "x")
    assert done.returncode == 1
    assert done.stderr.count("only train and fit run under torchrun: start this command without it") == 1
    assert not (tmp_path / "x").exists()


LOSES_ONE = """
import os, signal, sys
from focusdd.cli import app as cli
from focusdd.core.distributed import rank
from focusdd.training import train

def dies(t):
    os.kill(os.getpid(), signal.SIGKILL)

if rank() == 1:
    train.cosine = dies
cli.main()
"""


def test_a_process_that_dies_is_noticed_by_the_others(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LOSES_ONE)
    words = ["--student", "test_vit", "--labels", "hard", "--size", 32, "--epochs", 2, "--device", "cpu"]
    program = [tmp_path / "program.py", "train", tiny.folder, "--val", VAL.name, "--out", tmp_path / "x"]
    # torchrun looks seldom: else it may end the other one before that has noticed
    done = torchrun("--monitor-interval=15", *program, *words)
    assert done.returncode == 1
    assert done.stderr.count("error: another process of this torchrun has ended, often for want of me") == 1
    assert "[rank" not in done.stderr  # what torch puts before the lines of a traceback


# shares


@pytest.mark.parametrize(("batch", "count"), [(20, 1), (5, 2), (20, 8), (7, 7)])
def test_every_row_is_in_one_share_and_all_are_about_equal(batch: int, count: int) -> None:
    shares = [range(batch)[Ranks(rank, count).shard(batch)] for rank in range(count)]
    assert [row for share in shares for row in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


Make = Callable[[nn.Module, Ranks], Callable[[torch.Tensor, torch.Generator], torch.Tensor]]


@pytest.mark.parametrize("kind", ["soft", "dense", "hard", "plain", "stored", "fit", "taught"])
def test_the_gradients_of_the_shares_add_up(kind: str, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever CutMix takes from rows of other processes."""
    monkeypatch.setattr(Ranks, "parallel", lambda self, net, device: net)
    teacher, known = load_model(TEACHER, CPU, 32), torch.arange(10)
    pixels = load_source(SOURCE, 40, "read")

    def make(net: nn.Module, ranks: Ranks) -> Any:
        if kind == "stored":
            data = focusdd.LabelledViews(tiny, STORED)
            whole_views = data.settings.model_copy(update={"dense_weight": 0.0})  # a ViT has no dense logits
            return stored_loss(net, data, whole_views, CPU, ranks)
        if kind in ("fit", "taught"):
            judge = teacher if kind == "taught" else None
            changed = FIT.model_copy(update={"mix_prob": 1.0})
            return online_loss(net, pixels, 1, judge, known, fitting._recipe(changed), CPU, ranks, 0.1)
        judge = teacher if kind in ("soft", "dense") else None
        own = {"augment": kind != "plain", "dense_weight": float(kind == "dense")}
        changed = resolve(TRAIN.model_copy(update=own)).settings
        return online_loss(net, pixels, 2, judge, known, changed, CPU, ranks)

    net, _ = new_net("test_convnext" if kind == "dense" else "test_vit", 10, 32, CPU, 0)
    rows = torch.tensor([3, 9, 0, 7, 1, 2, 8])

    def gradient(ranks: Ranks) -> torch.Tensor:
        net.zero_grad()
        make(net, ranks)(rows, torch.Generator().manual_seed(1)).backward()
        return torch.cat([weight.grad.flatten() for weight in net.parameters()])

    shares = [Ranks(rank, 3) for rank in range(3)]
    parts = [gradient(ranks) * len(rows[ranks.shard(7)]) / 7 for ranks in shares]
    whole = gradient(ALONE)
    torch.testing.assert_close(sum(parts), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))
    assert (parts[0] - parts[1]).abs().max() > 0.01 * whole.abs().max()


# what cannot be done


def test_a_batch_smaller_than_the_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="3 processes cannot share the last batch of 2 images"):
        run_epochs(
            nn.Linear(1, 1), lambda *_: torch.zeros(()), 12, epochs=1, batch_size=5, lr=1.0, weight_decay=0.0,
            rate=cosine, seed=0, device=CPU, checkpoint=tmp_path / "x", what="x", ranks=Ranks(0, 3),
        )  # fmt: skip


def test_batch_norm_is_over_the_whole_batch_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the activations that timm keeps within its batch norm."""
    net, _ = new_net("mobilenetv2_100", 3, 32, CPU, 0)
    with pytest.raises(FocusError, match="batch norm on GPUs alone"):
        Ranks(0, 2).parallel(net, CPU)
    images = torch.randn(2, 3, 32, 32)
    before = net.eval()(images)
    monkeypatch.setattr(ranks_module, "DistributedDataParallel", lambda net, **_: net)
    assert Ranks(0, 2).parallel(net, torch.device("cuda")) is net
    kinds = {type(layer) for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
    assert all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert torch.equal(net.eval()(images), before)


@pytest.mark.parametrize(
    ("device", "said"), [("mps", "trains in one process"), ("cuda", "--nproc-per-node 1, or --device cpu")]
)
def test_devices_that_do_not_suffice(device: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(FocusError, match=said), process_group(torch.device(device)):
        pass


def test_processes_that_see_other_files_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "broadcast", lambda self, value: ["broken.jpg"])
    Ranks(1, 2).require_same(["broken.jpg"], "images")
    with pytest.raises(FocusError, match=r"process 1 .* has other images than the first"):
        Ranks(1, 2).require_same([], "images")


def test_a_stage_that_processes_cannot_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python, where no command line looks first."""
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FocusError, match="focusdd distill runs in one process: start it without torchrun"):
        run_stage(Stage("distill", 1, {}, {}), tmp_path, lambda _: pytest.fail("opened"))


def test_processes_of_a_machine_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = len(VAL.records) * 3 * 32**2
    monkeypatch.setattr("focusdd.sources.pixels.free_memory", lambda: 2 * need)
    assert len(load_source(VAL, 32, "read", 1)) == len(VAL.records)
    with pytest.raises(FocusError, match="GiB of memory"):
        load_source(VAL, 32, "read", 2)
