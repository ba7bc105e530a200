"""The program `focusdd`: runs a command, and where it is stopped says how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WORDS = "stopped. Run the same command again to go on"


class _Stopped(KeyboardInterrupt):
    """Of a type of its own: Python may remember having seen the plain one, and end with its exit code."""


def main() -> None:
    """Entry point. A first Ctrl-C or SIGTERM ends the command in good order, a second one at once."""
    code = 0

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal code
        if code:
            sys.stderr.write(f"{_WORDS}\n")
            os._exit(code)
        code = 128 + number
        raise _Stopped

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    try:
        from focusdd.cli.app import main as run  # takes long enough to be stopped meanwhile

        run()
    except BaseException:
        if not code:  # else whatever the interruption was turned into on its way
            raise
    finally:
        for number in _SIGNALS:  # Python's own end would show a traceback
            if signal.getsignal(number) is stop:
                signal.signal(number, signal.SIG_DFL)
    if code:
        from focusdd.core.distributed import fails_first

        if fails_first():
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{_WORDS}\n")
        sys.exit(code)


if __name__ == "__main__":
    main()
