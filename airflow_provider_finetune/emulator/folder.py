"""Where a running server keeps its files, and what servers that were killed have left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from time import time

PREFIX = "finetune-emulator-"
_LOCK = "lock"
_SECONDS_TO_LOCK = 60.0
"""A younger folder may belong to a server that is just starting."""


class Folder:
    """A temporary folder that is removed at the end; if the server is killed, by the next one that starts.

    A lock tells the folders of living servers: it goes with its process, however that ends.
    """

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self._path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.files = self._path / "files"
        self.files.mkdir()

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.getuid() or time() - found.st_mtime < _SECONDS_TO_LOCK:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
