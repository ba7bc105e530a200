"""Killed, stopped, locked out or out of space: what is left is whole, and the same command again goes on."""

from __future__ import annotations

import builtins
import errno
import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from interrupted import STAGES, VIT, Bench, Finished, made, recorded, small_shards

from focusdd.cli import app as cli
from focusdd.core.console import console
from focusdd.execute.ray import _Actor

LOCK = ".focusdd.lock"


def focusdd(*words: str) -> int:
    """The exit code of a command in this process."""
    with small_shards(), warnings.catch_warnings(), patch.object(sys, "argv", ["focusdd", *words]):
        # main() reads sys.argv, which is what is meant
        warnings.filterwarnings("ignore", message="Cyclopts application invoked without tokens")
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def quietly(words: list[str], last: str) -> None:
    """What a process of its own does; it is killed as soon as a file called `last` is there."""
    console.quiet = True
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        real(source, target)
        if Path(target).name == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(os, "replace", replace):
        sys.exit(focusdd(*words))


class Processes:
    """Starts commands in forks of a process that has imported everything and has no threads yet."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["warm"])
        self._started: list[Any] = []

    def start(self, words: list[str], last: str = "") -> Any:
        process = self._context.Process(target=quietly, args=(words, last))
        with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):  # the first starts the server
            process.start()
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.end()


class Undisturbed(NamedTuple):
    """What every stage makes, in how many seconds and steps that need room on the disk."""

    bench: Bench
    seconds: dict[str, float]
    steps: dict[str, int]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    bench = Bench.of_demo(tmp_path_factory.mktemp("bench"), 6)
    seconds, steps = {}, {}
    for name in STAGES:
        out = bench.folder / name
        bench.begin(name, out)
        start = time.monotonic()
        with Disk(out).watched() as disk:
            assert focusdd(*bench.words(name, out)) == 0, name
        seconds[name], steps[name] = time.monotonic() - start, disk.steps
    return Undisturbed(bench, seconds, steps)


@pytest.fixture
def bench(undisturbed: Undisturbed) -> Bench:
    return undisturbed.bench


# two at once, and kill -9


@pytest.mark.parametrize("name", STAGES)
def test_a_second_process_is_refused_and_a_kill_loses_no_finished_shard(
    name: str, undisturbed: Undisturbed, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed at a random moment, then the same command again: the bytes of an undisturbed run."""
    bench, rng = undisturbed.bench, random.Random(name)
    out = bench.folder / f"{name} killed"
    words = bench.words(name, out)
    if name == "report":  # a page may be written while others work
        bench.begin(name, out)
        process = processes.start(words)
    else:
        process = held(name, bench, out, processes)
        said = refused(words, capsys)
        assert "is in use by another focusdd process: wait for it to end" in said and str(out) in said
        os.kill(process.pid, signal.SIGCONT)
    process.join(rng.uniform(0, undisturbed.seconds[name]))
    process.kill()
    process.join()
    goes_on(name, bench, out, capsys)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("compare", "done.json"),  # of the index, before it is said what it cost
        ("label", "labels.json"),
        ("train", "result.json"),
        ("fit", "config.json"),
    ],
)
def test_a_kill_between_two_files_loses_nothing_either(
    name: str, last: str, bench: Bench, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = bench.folder / f"{name} killed at {last}"
    bench.begin(name, out)
    process = processes.start(bench.words(name, out), last)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert goes_on(name, bench, out, capsys) > 0


def held(name: str, bench: Bench, out: Path, processes: Processes) -> Any:
    """A process that is stopped in the middle of its work."""
    for _ in range(10):  # on a busy machine it may be done before it is stopped
        bench.begin(name, out)
        begun = set(out.rglob("*"))
        process = processes.start(bench.words(name, out))
        # a file beside the lock: it is made before it is locked, and everything else after that
        while process.exitcode is None and not any(
            path.is_file() and path.name != LOCK for path in set(out.rglob("*")) - begun
        ):
            time.sleep(0.002)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGSTOP)
            if any(out.rglob(LOCK)):
                return process
        process.kill()
        process.join()
    pytest.fail(f"{name} was never met at work")


def goes_on(name: str, bench: Bench, out: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """Runs a killed stage again: nothing that was finished is made again, and all is as it should be."""
    finished, written = Finished.of(name, out), list[Path]()
    capsys.readouterr()
    with recorded(written):
        assert focusdd(*bench.words(name, out)) == 0
    assert bench.same(name, out)
    assert finished.made_again(written, capsys.readouterr().out) == 0
    return finished.number


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence with which a command ends."""
    capsys.readouterr()
    assert focusdd(*words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


# no space, no permission


class Disk:
    """Stands between Python and what is written below a folder: from some step on there is no more room."""

    def __init__(self, folder: Path, code: int = errno.ENOSPC, full_at: int = sys.maxsize) -> None:
        self.folder, self.code, self.full_at = str(folder), code, full_at
        self.steps = 0
        self.refused: list[str] = []
        """The threads that found no room."""
        self._lock = threading.Lock()

    def step(self, path: Any) -> None:
        """Something that needs room."""
        with self._lock:
            self.steps += 1
            if self.steps > self.full_at:
                self.refused.append(threading.current_thread().name)
                raise OSError(self.code, os.strerror(self.code), str(path))

    @contextmanager
    def watched(self) -> Iterator[Disk]:
        """Python writes through this disk while the block runs."""
        with ExitStack() as stack:
            for module in (io, builtins):
                stack.enter_context(patch.object(module, "open", self._opening(module.open)))
            for name in ("mkdir", "replace", "fsync"):
                stack.enter_context(patch.object(os, name, self._checked(getattr(os, name))))
            yield self

    def _holds(self, path: Any) -> bool:
        return not isinstance(path, int) and os.fspath(path).startswith(self.folder)

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode[0] == "r" or not self._holds(path):
                return real(path, mode, *arguments, **options)
            self.step(path)
            return Written(real(path, mode, *arguments, **options), lambda: self.step(path))

        return opened

    def _checked(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, int) or self._holds(path):
                self.step(path)
            return real(path, *arguments, **options)

        return checked


class Written:
    """An open file; half of what is written when there is no more room is in it."""

    def __init__(self, file: Any, step: Callable[[], None]) -> None:
        self._file, self._step = file, step

    def write(self, data: Any) -> int:
        try:
            self._step()
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return int(self._file.write(data))

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("name", STAGES)
def test_no_room_is_one_sentence_and_leaves_nothing_half_written(
    name: str, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full, or may not be written to, from a random step on; then all is well again."""
    bench, rng = undisturbed.bench, random.Random(f"disk {name}")
    out, wanted = bench.folder / f"{name} full", made(bench.folder / name, name)
    words = bench.words(name, out)
    for code, remedy in ((errno.ENOSPC, "free some space on the disk of"), (errno.EROFS, "make")):
        bench.begin(name, out)
        before = made(out, name)
        with Disk(out, code, rng.randrange(undisturbed.steps[name])).watched() as disk:
            said = refused(words, capsys)
        assert disk.refused
        assert os.strerror(code) in said and str(out) in said
        assert remedy in said and "run the same command again, or" in said
        for path, digest in made(out, name).items():
            assert not path.endswith((".tmp", ".lock"))
            # as it will be, or as it was; rows of results and names of files may be missing, and an index
            # not be judged yet
            known = wanted.get(path, digest), before.get(path)
            grows = path.endswith(("results.csv", "stage.json")) or "index/parts/" in path
            assert digest in known or grows, path
        assert focusdd(*words) == 0
        assert made(out, name) == wanted


def test_no_room_is_found_by_threads_too(
    undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, name = undisturbed.bench, "distill"
    out = bench.folder / "threads full"
    bench.begin(name, out)
    with Disk(out, full_at=undisturbed.steps[name] // 2).watched() as disk:
        refused(bench.words(name, out), capsys)
    assert any(thread.startswith("ThreadPool") for thread in disk.refused)
    assert not list(out.rglob("*.tmp"))


def test_no_room_for_a_worker_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker of Ray meets comes back as a sentence."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)

    def work(shards: Any, advance: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "part"))

    done = _Actor(lambda: work, str(tmp_path), False).run([1])
    assert "part cannot be written (No space left on device): free some space" in done.problem


def test_no_room_for_what_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", Full())
    said = refused(["status", str(bench.folder)], capsys)
    assert "standard output cannot be written (No space left on device): free some space" in said


# Ctrl-C and SIGTERM

WORDS = "stopped. Run the same command again to go on\n"
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
# in the place of the command line: what happens when the program is stopped
STUB = """
import os, signal, sys, time, types
{heed}
stub = types.ModuleType("focusdd.cli.app")
def main():
    {body}
stub.main = main
sys.modules["focusdd.cli.app"] = stub
from focusdd.__main__ import main
main()
"""


def stub(body: str, heed: str = "signal.signal(signal.SIGINT, signal.default_int_handler)") -> Any:
    """Runs the program with another command line."""
    code = STUB.format(heed=heed, body=textwrap.indent(textwrap.dedent(body), "    ").strip())
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("engine", ["local", "ray"])  # Ray would put its own in place of our SIGTERM
def test_a_stop_says_how_to_go_on(number: int, code: int, engine: str, bench: Bench, tmp_path: Path) -> None:
    """The real program, in the midst of its work."""
    words = [sys.executable, "-m", "focusdd", "extract", "demo:2000", "--extractor", VIT, "--engine", engine]
    process = subprocess.Popen(
        [*words, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    while not (tmp_path / "parts").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (code, WORDS)
    assert not list(tmp_path.rglob(".*"))  # neither lock nor temporary files


def _heed_interrupts() -> None:
    """A test run in the background passes on that interrupts are to be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_stop_is_not_lost_on_its_way(number: int, code: int) -> None:
    """Whatever else comes of it: another error, an end as if nothing had been."""
    kill = f"os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    for body in (
        kill,
        f"exec('{kill}')",  # after which Python would end with the code of a Ctrl-C, were it a plain one
        f"try: {kill}\nexcept BaseException: raise RuntimeError('lost')",
        f"try: {kill}\nexcept BaseException: sys.exit(0)",
        f"try: {kill}\nexcept BaseException: pass",
    ):
        done = stub(body)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", WORDS), body


def test_a_second_stop_waits_for_nothing() -> None:
    done = stub(
        """
        try:
            os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
        """
    )
    assert (done.returncode, done.stderr) == (143, WORDS)


def test_what_is_to_be_ignored_is() -> None:
    """As under nohup."""
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = stub("os.kill(os.getpid(), signal.SIGINT); print('went on')", ignored)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
