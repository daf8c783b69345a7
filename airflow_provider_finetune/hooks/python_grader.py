"""Running a ``python`` grader: in processes of their own, with limits, each for many examples."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.evaluation.template import Sample

_PROGRAM = str(Path(__file__).with_name("python_grader_process.py"))
_LONGEST_LINE = 64 * 1024 * 1024
_SECONDS_TO_START = 10.0


class PythonGrader:
    """Runs one source. The processes have no environment, no files to write to, and bounded time and memory.

    That keeps a grader from harming the worker by mistake; it is no sandbox against an attacker, since it may read what
    the worker's user may read and use the network.

    :param seconds: of CPU an example; as much and ten seconds more of waiting.
    :param megabytes: of memory a process.
    :param processes: how many run at the same time.
    """

    def __init__(self, source: str, *, seconds: int, megabytes: int, processes: int) -> None:
        self._source = source
        self._seconds = seconds
        self._limits = [str(seconds), str(megabytes)]
        self._free: asyncio.LifoQueue[asyncio.subprocess.Process | None] = asyncio.LifoQueue()
        for _ in range(processes):
            self._free.put_nowait(None)
        self._running: set[asyncio.subprocess.Process] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="grader-")

    async def grade(self, item: Mapping[str, Any], sample: Sample) -> float:
        """Return the grade.

        :raises ValueError: the source raised, gave no number, or went beyond a limit. Only this example is lost.
        """
        process = await self._free.get()
        try:
            if process is None:
                process = await self._start()
            line = json.dumps({"sample": sample.as_json(), "item": item})
            told = await asyncio.wait_for(_asked(process, line), self._seconds + _SECONDS_TO_START)
        except (TimeoutError, OSError, EOFError, ValueError):
            why = "it took too long" if process is not None and process.returncode is None else "its process ended"
            await self._stop(process)
            process = None
            raise ValueError(f"the python grader gave no grade: {why}, or it wanted too much memory") from None
        except BaseException:
            await self._stop(process)
            process = None
            raise
        finally:
            self._free.put_nowait(process)
        if "grade" not in told:
            raise ValueError(f"the python grader raised {told.get('error')}")
        return float(told["grade"])

    async def close(self) -> None:
        """End all processes."""
        for process in list(self._running):
            await self._stop(process)
        self._folder.cleanup()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            _PROGRAM,
            *self._limits,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._folder.name,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},  # the worker's holds connections and keys
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        self._running.add(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._source).encode() + b"\n")
        return process

    async def _stop(self, process: asyncio.subprocess.Process | None) -> None:
        if process is None:
            return
        self._running.discard(process)
        with suppress(ProcessLookupError):  # with all that it started
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _asked(process: asyncio.subprocess.Process, line: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line.encode() + b"\n")
    await process.stdin.drain()
    answer = await process.stdout.readline()
    if not answer:
        await process.wait()
        raise EOFError
    told = json.loads(answer)
    return told if isinstance(told, dict) else {}
