"""What a GPU changes, in three minutes, the most wanted first; every figure is kept as soon as it is there.

    python benchmarks/gpu.py DATA OUT.csv [--seconds 1.5] [--minutes 2.7] [--only extract steps] [--tiny]

DATA is a source of photographs; extract reads them enlarged to ImageNet's usual 500 x 375 pixels. Rows are
appended to OUT.csv. A measurement that fails leaves a row that says why; after --minutes no further one is
begun. `ratio` is the value over that of the row named in `against`. --tiny takes small networks and few
images (DATA demo:6), to try the script.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest import mock

import attention
import cost
import torch
from tables import commit, machine

from focusdd import ExtractSettings, FitSettings, TrainSettings, execute, extract, open_source
from focusdd.core import decoders
from focusdd.core.images import decode, encode, resize
from focusdd.demo.run import WEIGHTS
from focusdd.extraction import loading, nvjpeg, parts
from focusdd.extraction.attention import as_vit, class_attention
from focusdd.models import graphs
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.dense import DenseLogits, PooledLogits
from focusdd.models.device import autocast, cast_weights, peak_device_memory_mb, pick_device
from focusdd.models.families import recipe
from focusdd.models.load import Model, load_model, new_net
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE
from focusdd.sources.base import Record, Source
from focusdd.sources.pixels import Pixels
from focusdd.tasks import extract as stage
from focusdd.tasks.classify import rows as classify
from focusdd.training import fit, losses

COLUMNS = ["name", "value", "unit", "ratio", "against", "detail", "machine", "torch", "date", "commit"]
EXTRACTOR, CLASSES = "vit_small_patch14_reg4_dinov2", 10
NEW, OLD = "extract, nvJPEG", "extract, processes"


@dataclass
class Bench:
    """What is measured, how long, and where it is written."""

    data: str
    out: Path
    work: Path
    device: torch.device
    seconds: float
    end: float
    tiny: bool
    commit: str
    rates: dict[str, float] = field(default_factory=dict)

    @cached_property
    def source(self) -> Source:
        return open_source(self.data)

    @cached_property
    def side(self) -> int:
        return 32 if self.tiny else 224

    @cached_property
    def sample(self) -> int:
        return 24 if self.tiny else 1024

    @cached_property
    def photos(self) -> Source:
        """Photographs of ImageNet's usual size, compressed as usual."""
        folder = self.work / "photos"
        if not folder.exists():
            records = self.source.records[:: max(1, len(self.source.records) // 4000)]
            with ThreadPoolExecutor() as pool:
                list(pool.map(partial(self._enlarge, folder), enumerate(records)))
        return open_source(str(folder))

    def _enlarge(self, folder: Path, numbered: tuple[int, Record]) -> None:
        number, record = numbered
        path = folder / "train" / self.source.classes[record.label] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image, _, _ = decode(self.source.read(record.key))
        path.write_bytes(encode(resize(image, 500, 375), "jpg", 90))

    def row(
        self, name: str, unit: str, measure: Callable[[], float], against: str = "", detail: str = ""
    ) -> None:
        """Measures and writes one row; what goes wrong is written in its place."""
        value, ratio = "", ""
        peak_device_memory_mb(self.device)  # from here on
        begin = time.monotonic()
        if begin > self.end:
            detail = "not measured: the time was up"
        else:
            try:
                self.rates[name] = found = measure()
                value = f"{found:.4g}"
                ratio = f"{found / self.rates[against]:.3f}" if against in self.rates else ""
                peak = peak_device_memory_mb(self.device)
                detail = ", ".join(filter(None, [detail, peak and f"peak {peak} MB"]))
            except Exception as error:
                detail = f"failed: {type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
        self.write(name, value, unit, ratio, against if ratio else "", detail)
        print(f"{name}: {value} {unit} {ratio} {detail} [{time.monotonic() - begin:.1f} s]", flush=True)

    def write(self, *cells: str) -> None:
        new = not self.out.exists()
        with self.out.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([*cells, machine(), torch.__version__, time.strftime("%Y-%m-%d"), self.commit])

    def rate(self, work: Callable[[], object], each: int = 1) -> float:
        """How many per second: `work`, which does `each` of them, again and again after a first time."""
        work()
        self.wait()
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() - start < self.seconds:
            work()
            count += each
            if self.device.type == "cuda" and count % (8 * each) == 0:
                self.wait()  # so that the clock is that of the GPU
        self.wait()
        return count / (time.perf_counter() - start)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=1.5, help="for one row")
    parser.add_argument("--minutes", type=float, default=2.7, help="after which no row is begun")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--commit", help="what is measured, where git is not there to say")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        bench = Bench(
            data=options.data,
            out=options.out,
            work=Path(work),
            device=pick_device("auto"),
            seconds=0.05 if options.tiny else options.seconds,
            end=time.monotonic() + 60 * options.minutes,
            tiny=options.tiny,
            commit=options.commit or commit(),
        )
        if bench.device.type == "cpu":  # the way through the program that a GPU takes
            for module in (nvjpeg, loading):
                stack.enter_context(mock.patch.object(module, "has_nvjpeg", lambda device: True))
            stack.enter_context(mock.patch.object(parts, "_on_every_core", parts._beside_the_model))
        for name in options.only:
            try:
                SECTIONS[name](bench)
            except Exception as error:
                bench.write(name, "", "", "", "", f"failed: {type(error).__name__}: {str(error)[:300]}")
                print(f"{name}: {error}", flush=True)
            gc.collect()


class _Repeated:
    """The images of a source again and again, or a part of them."""

    def __init__(self, source: Source, times: int = 1, number: int = 0, count: int = 1) -> None:
        self.name, self.split = f"{source.name}, {times} times, part {number}", source.split
        self.classes, self.class_names, self.skipped = source.classes, source.class_names, source.skipped
        self.fingerprint, self.read = f"{source.fingerprint}-{times}-{number}-{count}", source.read
        self.records: tuple[Record, ...] = (source.records * times)[number::count]


def extraction(bench: Bench) -> None:
    """Extract end to end, decoded on the GPU and by processes in turns, in large and in small batches."""
    settings, source = _reading(bench), _Repeated(bench.photos, 1 if bench.tiny else 3)
    small = settings.model_copy(update={"batch_size": 2 if bench.tiny else 64})
    by_processes = [(stage, "decoder_for", lambda *_: "Pillow"), (loading, "FEW", 1)]
    detail = f"{len(source.records)} images of 500 x 375 px"
    for batch, reading in (("", settings), (", batch 64", small)):
        for name, change in ((OLD, by_processes), (NEW, [])):
            steady, whole, spent = _extracted(bench, reading, source, change)
            cost = f"{detail}, {spent:.0f} us of CPU each"
            for what, value in (("steady", steady), ("with its start", whole)):
                against = f"{OLD}{batch}: {what}"
                bench.row(f"{name}{batch}: {what}", "images/s", partial(float, value), against, cost)
    _alone(bench, settings)


def _steady(bench: Bench, settings: ExtractSettings, source: Any, changes: list[Any]) -> float:
    return _extracted(bench, settings, source, changes)[0]


def _extracted(
    bench: Bench, settings: ExtractSettings, source: Any, changes: list[tuple[Any, str, Any]]
) -> tuple[float, float, float]:
    """Images per second in its last three quarters and as a whole, and microseconds of CPU for each image."""
    marks: list[tuple[float, int]] = []

    @contextmanager
    def watched(*_: Any) -> Iterator[Callable[..., None]]:
        yield lambda items, note="": marks.append((time.perf_counter(), items))

    # the probe would take longer than all that is measured
    no_probe = [(classify, "_PROBE_SAMPLE", 10**6), (classify, "_fill_confidence", lambda *_: None)]
    with ExitStack() as stack:
        for change in (*changes, *no_probe, (execute, "progress", watched)):
            stack.enter_context(mock.patch.object(*change))
        begin = os.times()
        index = extract(source, bench.work / f"index-{time.monotonic_ns()}", settings)
        spent = sum(os.times()[:4]) - sum(begin[:4])
    run = json.loads((index.folder / "run.json").read_text())
    first = len(marks) // 4
    steady = sum(items for _, items in marks[first + 1 :]) / max(marks[-1][0] - marks[first][0], 1e-9)
    return steady, run["images"] / run["seconds"]["extract"], 1e6 * spent / run["images"]


def _alone(bench: Bench, settings: ExtractSettings) -> None:
    """Forward passes from views on the GPU to attention and features in memory, and decoding, alone."""
    forward, decoding = "forward alone, batch 256", "decode alone, nvJPEG, 8 threads"
    for name, batch in ((forward, 256), ("forward alone, batch 64", 64)):
        bench.row(name, "images/s", partial(_forward_rate, bench, settings, batch), forward)
    files = [bench.photos.read(record.key) for record in bench.photos.records[: bench.sample]]
    bench.row(decoding, "images/s", partial(_decode_rate, bench, files, 8), detail="with resizing")
    bench.row("decode alone, processes", "images/s", partial(_process_rate, bench, files), decoding)
    slower = "slower of decode and forward alone"
    rates = [bench.rates.get(name, math.inf) for name in (decoding, forward)]
    bench.row(slower, "images/s", partial(min, rates))
    ours = partial(bench.rates.__getitem__, f"{NEW}: steady")
    bench.row(f"{NEW}: steady, against the slower", "images/s", ours, slower)


def _decode_rate(bench: Bench, files: list[bytes], threads: int) -> float:
    view = nvjpeg.gpu_decoder(bench.side, "squash", bench.device)
    batches = [files[row : row + 64] for row in range(0, len(files), 64)]
    with ThreadPoolExecutor(threads) as pool:
        return bench.rate(lambda: list(pool.map(view, batches)), len(files))


def _process_rate(bench: Bench, files: list[bytes]) -> float:
    count, some = decoders.most(), [files[row : row + 8] for row in range(0, len(files), 8)]
    with decoders.decoders(count, 8, bench.side, "squash") as view, ThreadPoolExecutor(count) as pool:
        return bench.rate(lambda: list(pool.map(view, some)), len(files))


def _forward_rate(bench: Bench, settings: ExtractSettings, batch: int) -> float:
    model = load_model(settings.extractor, bench.device)
    vit = as_vit(model.net, model.name)
    cast_weights(model.net, bench.device)
    side, batch = model.input_size, 4 if bench.tiny else batch
    views = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=bench.device)

    @torch.inference_mode()
    def forward() -> None:
        with autocast(bench.device):
            seen, tokens = class_attention(vit, model.prepare(views), settings)
            seen.cpu(), model.net.forward_head(tokens, pre_logits=True).cpu()  # type: ignore[operator]

    return bench.rate(forward, batch)


def _reading(bench: Bench, name: str = EXTRACTOR) -> ExtractSettings:
    batch = 4 if bench.tiny else None
    return ExtractSettings(extractor=str(_extractor(bench, name)), batch_size=batch, anyway=True)


def _extractor(bench: Bench, name: str = EXTRACTOR) -> Path:
    """A checkpoint of the default extractor's kind; its weights do not matter, so a probe judges."""
    folder = WEIGHTS / "vit" if bench.tiny else bench.work / name
    if not folder.exists():
        folder.mkdir(parents=True)
        names = [f"class {number}" for number in range(CLASSES)]
        net, arguments = new_net(name, CLASSES, bench.side, torch.device("cpu"), 0)
        save_checkpoint(folder, net, names, names, bench.side, arguments, {})
    return folder


@contextmanager
def passes(way: str) -> Iterator[None]:
    """Networks are called as they are, recorded (as focusdd does) or compiled."""
    ways: dict[str, Any] = {
        "plain": lambda net, device: net,
        "recorded": graphs.graphed,
        "compiled": lambda net, device: torch.compile(net, mode="reduce-overhead"),
    }
    with ExitStack() as stack:
        for module in (graphs, losses):
            stack.enter_context(mock.patch.object(module, "graphed", ways[way]))
        yield


def student_step(bench: Bench, student: str, batch: int) -> Callable[[], None]:
    """A step of training on random pixels with a ResNet-18 as teacher."""
    teacher = load_model("resnet18", bench.device, bench.side, pretrained=False, num_classes=CLASSES)
    settings = TrainSettings(student=student, size=bench.side)
    settings = resolve(settings, taught=DENSE, **recipe(student)._asdict()).settings
    return _step(bench, student, batch, teacher, settings, bench.side, 2)


def fit_step(bench: Bench, model: str, batch: int) -> Callable[[], None]:
    """A step of `fit` on random pixels."""
    settings = fit._recipe(FitSettings(model=model, size=bench.side, batch_size=batch))
    return _step(bench, model, batch, None, settings, round(bench.side * 1.25), 1)


def _step(
    bench: Bench, name: str, batch: int, teacher: Model | None, settings: TrainSettings, side: int, grid: int
) -> Callable[[], None]:
    net, _ = new_net(name, CLASSES, bench.side, bench.device, 0)
    net.train()
    images = torch.randint(0, 256, (max(100, batch), 3, side, side), dtype=torch.uint8)
    pixels = Pixels(images, torch.arange(len(images)) % CLASSES, ())
    outputs = torch.arange(CLASSES, device=bench.device)
    loss = losses.online_loss(net, pixels, grid, teacher, outputs, settings, bench.device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        value = loss(torch.randperm(len(images), generator=generator)[:batch], generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return step


def bare_step(bench: Bench, student: str, batch: int) -> Callable[[], None]:
    """The passes alone, recorded: the student's both ways and the teacher's, on a batch that is there."""
    net, _ = new_net(student, CLASSES, bench.side, bench.device, 0)
    teacher = load_model("resnet18", bench.device, bench.side, pretrained=False, num_classes=CLASSES)
    mine, theirs = (graphs.graphed(DenseLogits(one), bench.device) for one in (net.train(), teacher.net))
    images = torch.rand((batch, 3, bench.side, bench.side), device=bench.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(bench.device):
            whole, dense = mine(images)
            with torch.inference_mode():
                theirs(images)
        (whole.sum() + dense.sum()).backward()

    return step


def class_attention_share(bench: Bench) -> None:
    """What class attention adds to a forward pass (at most 5 % is the goal)."""
    model, batch = ("test_vit", 4) if bench.tiny else (EXTRACTOR, 256)
    seconds = attention.turns(model, bench.side, batch, 2 if bench.tiny else 30, bench.device)
    name = f"attention, {model}, {bench.side} px, batch {batch}: "
    for way, taken in seconds.items():
        median = partial(float, 1000 * statistics.median(taken))
        bench.row(name + way, "ms", median, f"{name}plain forward")


def steps(bench: Bench) -> None:
    """Steps per second of a ResNet-18, as a share of what the passes alone would allow."""
    _students(bench, [("test_resnet", 4)] if bench.tiny else [("resnet18", 20)], ("recorded", "plain"))


def more_steps(bench: Bench) -> None:
    """The same of larger students."""
    if not bench.tiny:
        _students(bench, [("resnet50", 20), ("mobilenetv2_100", 20)], ("recorded",))


def _students(bench: Bench, several: list[tuple[str, int]], ways: tuple[str, ...]) -> None:
    for student, batch in several:
        name = f"step, {student}, {bench.side} px, batch {batch}: "
        limit = f"{name}passes alone"
        bench.row(limit, "steps/s", partial(_step_rate, bench, bare_step, student, batch))
        for way in ways:
            with passes(way):
                rate = partial(_step_rate, bench, student_step, student, batch)
                bench.row(name + way, "steps/s", rate, limit)


def _step_rate(bench: Bench, make: Callable[..., Callable[[], None]], student: str, batch: int) -> float:
    step = make(bench, student, batch)
    for _ in range(3):
        step()
    return bench.rate(step)


def fitting(bench: Bench, ways: tuple[str, ...] = ("recorded", "plain")) -> None:
    """Images per second of `fit`."""
    model, batch = ("test_resnet", 4) if bench.tiny else ("resnet18", 64)
    for way in ways:
        with passes(way):

            def rate() -> float:
                return batch * _step_rate(bench, fit_step, model, batch)

            base = f"fit, {model}, batch {batch}: recorded"
            bench.row(f"fit, {model}, batch {batch}: {way}", "images/s", rate, base)


def labelling(bench: Bench) -> None:
    """Images per second of a teacher, 64 at a time as `label` asks it."""
    name = "test_resnet" if bench.tiny else "resnet18"
    teacher = load_model(name, bench.device, bench.side, pretrained=False, num_classes=CLASSES)
    images = torch.rand((64, 3, bench.side, bench.side), device=bench.device) * 255
    for way in ("recorded", "plain"):
        with passes(way):
            ask = graphs.teacher_forward(teacher, PooledLogits, True)
            rate = partial(bench.rate, partial(ask, images), 64)
            bench.row(f"label, {name}: {way}", "images/s", rate, f"label, {name}: recorded")


def compiled(bench: Bench) -> None:
    """`torch.compile(mode="reduce-overhead")` beside recorded passes; seconds to the first step."""
    if bench.tiny:
        return  # on a CPU there is nothing to record, and to compile takes minutes
    made: dict[str, Callable[[], None]] = {}

    def first(way: str, make: Callable[..., Callable[[], None]], batch: int) -> float:
        begin = time.perf_counter()
        made[way] = make(bench, "resnet18", batch)
        made[way]()
        bench.wait()
        return time.perf_counter() - begin

    for what, make, batch in (("train", student_step, 20), ("fit", fit_step, 64)):
        base = f"compile, {what}, resnet18, batch {batch}: "
        for way in ("recorded", "compiled"):
            with passes(way):
                seconds = partial(first, way, make, batch)
                bench.row(f"{base}seconds to the first step, {way}", "s", seconds)
                if way in made:
                    for _ in range(3):
                        made[way]()
                    rate = partial(bench.rate, made.pop(way))
                    bench.row(f"{base}{way}", "steps/s", rate, f"{base}recorded")


def together(bench: Bench) -> None:
    """Steps per second of all students of one process: one, and four on a stream each."""
    student, batch = ("test_resnet", 4) if bench.tiny else ("resnet18", 20)
    base = "students in one process, 1: steps of all"
    for count in (1, 4):
        name = f"students in one process, {count}: steps of all"
        bench.row(name, "steps/s", partial(_in_threads, bench, student, batch, count), base)


def _in_threads(bench: Bench, student: str, batch: int, count: int) -> float:
    """Recorded one after the other, then each on a stream of its own."""
    steps = []
    for _ in range(count):
        steps.append(student_step(bench, student, batch))
        steps[-1]()
    bench.wait()

    def run(step: Callable[[], None]) -> float:
        if bench.device.type == "cpu":
            return bench.rate(step)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < bench.seconds:
                step()
                done += 1
                if done % 8 == 0:
                    stream.synchronize()
            stream.synchronize()
            return done / (time.perf_counter() - start)

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(run, steps))


def workers(bench: Bench) -> None:
    """Two processes extract a half of the images each, on one GPU."""
    _extractor(bench), bench.photos
    rate = partial(_in_processes, bench, _extract_process, 2)
    bench.row("extract, 2 workers on one GPU: steady", "images/s", rate, f"{NEW}: steady")


def _in_processes(bench: Bench, work: Callable[..., float], count: int) -> float:
    """The sum of what `work` finds in so many processes at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(count), context.Queue()
    plain = Bench(bench.data, bench.out, bench.work, bench.device, bench.seconds, bench.end, bench.tiny, "")
    running = [
        context.Process(target=_told, args=(work, plain, barrier, found, number, count))
        for number in range(count)
    ]
    for process in running:
        process.start()
    try:
        answers = [found.get(timeout=60) for _ in running]
    finally:
        for process in running:
            process.kill()
    if failed := [answer for answer in answers if isinstance(answer, str)]:
        raise RuntimeError(failed[0])
    return sum(answers)


def _told(work: Callable[..., float], bench: Bench, barrier: Any, found: Any, *words: Any) -> None:
    """Runs in a process of its own: what `work` finds, or why it fails."""
    try:
        found.put(work(bench, barrier, *words))
    except Exception as error:
        barrier.abort()
        found.put(f"{type(error).__name__}: {error}")


def _extract_process(bench: Bench, barrier: Any, number: int, count: int) -> float:
    settings = _reading(bench)
    source = _Repeated(bench.photos, 1 if bench.tiny else 4, number, count)
    torch.zeros(1, device=bench.device)
    barrier.wait(50)
    return _steady(bench, settings, source, [])


def costs(bench: Bench) -> None:
    """What recipes/imagenet1k.sh would take: docs/understand/cost.md is computed from these rows."""
    if bench.tiny:
        return
    settings = _reading(bench, cost.EXTRACTOR)
    source = _Repeated(bench.photos, 3)
    name = f"cost, extract: {cost.EXTRACTOR}, {cost.VIEW} px"
    whole = partial(_steady, bench, settings, source, [])
    bench.row(name, "images/s", whole, detail=f"{cost.IMAGES} images")
    for step, images, rate, size in cost.later_rates(bench.photos, bench.work / "cost", bench.device, 8, 100):
        detail = f"{images} images" + (f" of {size:.0f} bytes" if size else "")
        bench.row(f"cost, {step}", "images/s", partial(float, rate), detail=detail)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "extract": extraction,
    "steps": steps,
    "together": together,
    "workers": workers,
    "compile": compiled,
    "cost": costs,
    "more steps": more_steps,
    "fit": fitting,
    "label": labelling,
    "attention": class_attention_share,
}

if __name__ == "__main__":
    main()
