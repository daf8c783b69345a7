"""The answers file: written line by line, so that whatever dies loses no answer that was paid for.

A local file is appended to, each line in one write that no later death of the process can take back. Object storage
cannot append: there, the lines of this task go into a local file, and what is new in it is stored every few seconds as
an object of its own beside the answers, ``answers.jsonl.part-…``. At the end, all is put into the one object, and the
parts are deleted. Whoever reads the answers reads the parts too, so a worker that dies loses a few seconds of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.evaluation.answer import Answer, NotAnAnswer, read_answer
from airflow_provider_finetune.exceptions import InvalidRequest
from airflow_provider_finetune.hooks.storage import is_remote, place

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = ".part-"


class AnswersFile:
    """The answers of any number of evaluations.

    :param path: a local path or a URL; None for a temporary file that is gone afterwards.
    :param storage_conn_id: the Airflow connection of the object storage.
    """

    def __init__(self, path: str | None, storage_conn_id: str | None = None) -> None:
        self.path = path
        self._remote: Any = place(path, storage_conn_id) if path and is_remote(path) else None
        self._parts: list[Any] = []
        self._storing = threading.Lock()
        self._stored = 0  # bytes of the local file that object storage has
        if path is None or self._remote is not None:
            descriptor, self._local = tempfile.mkstemp(prefix="answers-")
            os.close(descriptor)
        else:
            self._local = path
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        if self._remote is not None:
            self._fetch()
        self._file = os.open(self._local, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._mend()

    def read(self) -> Iterator[tuple[int, Answer]]:
        """Yield every answer and where it stands; of two for the same question, the later one counts.

        :raises InvalidRequest: the file holds something else.
        """
        offset = 0
        with open(self._local, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    answer = read_answer(line)
                except (NotAnAnswer, TypeError):
                    raise InvalidRequest(
                        f"answers is {shown(self.path or '')}, which holds something else than answers in line "
                        f"{number}. Name a file of its own."
                    ) from None
                if answer is not None:
                    yield offset, answer
                offset += len(line)

    def at(self, offset: int) -> Answer:
        """Return the answer that stands there."""
        with open(self._local, "rb") as lines:
            lines.seek(offset)
            answer = read_answer(lines.readline())
        assert answer is not None, "read() gave the offset"
        return answer

    def append(self, answer: Answer) -> None:
        """Write an answer."""
        line = answer.line()
        written = os.write(self._file, line)
        if written < len(line):  # a full disk: the rest says so
            os.write(self._file, line[written:])

    def store(self) -> None:
        """Bring what is new to object storage; nothing to do for a local file."""
        if self._remote is None:
            return
        with self._storing:
            size = os.fstat(self._file).st_size
            if size == self._stored:
                return
            part = self._remote.parent / f"{self._remote.name}{PART}{uuid.uuid4().hex}"
            part.write_bytes(os.pread(self._file, size - self._stored, self._stored))
            self._parts.append(part)
            self._stored = size

    def close(self) -> None:
        """Put all answers into one object, and close the file."""
        try:
            if self._remote is not None and (self._parts or os.fstat(self._file).st_size != self._stored):
                self.store()
                with open(self._local, "rb") as source, self._remote.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                for part in self._parts:
                    part.unlink(missing_ok=True)
        finally:
            os.close(self._file)
            if self._local != self.path:
                os.unlink(self._local)

    def _fetch(self) -> None:
        """Bring all answers that object storage has into the local file."""
        whole = [self._remote] if self._remote.exists() else []
        folder, beginning = self._remote.parent, f"{self._remote.name}{PART}"
        if folder.exists():
            self._parts = [path for path in folder.iterdir() if path.name.startswith(beginning)]
        with open(self._local, "wb") as target:
            for path in (*whole, *self._parts):
                with path.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            self._stored = target.tell()

    def _mend(self) -> None:
        """End a torn last line, so that the next answer has one of its own."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")
