"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from focusdd.core.errors import InUse, write_error
from focusdd.core.files import make_folder, remove_empty, sweep

LOCK = ".focusdd.lock"  # in a folder while a process works on it
_PATIENCE = 0.2  # seconds; whoever holds a lock that was removed meanwhile tries again
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes a folder and keeps every other process out of it while the block runs.

    A folder that it made and that is empty afterwards is removed again.

    Raises:
        FocusError: another process is in it, or it cannot be written to.
    """
    existing = make_folder(out)
    path = out / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
    except Timeout as error:
        raise InUse(f"{out} is in use by another focusdd process: wait for it to end") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # a file system without locks is used without
            remove_empty(out, existing)
            raise write_error(path, error, f"the folder {out} cannot be written to") from error
    try:
        sweep(out, deep=False)
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows does not remove an open file
            path.unlink(missing_ok=True)
        lock.release()
        remove_empty(out, existing)
