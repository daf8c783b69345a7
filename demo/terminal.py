"""Lines for a person: coloured and with a live last line on a terminal, plain everywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
SECONDS_BETWEEN_PLAIN = 5.0


class Terminal:
    """Writes to stdout, with the time since the start where asked for."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.has_colour = self.is_live and not os.environ.get("NO_COLOR")
        self._live = ""
        self._next_plain = 0.0

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour."""
        return f"\033[{_CODES[colour]}m{text}\033[0m" if self.has_colour else text

    def title(self, text: str) -> None:
        """Begin a part."""
        self.line(f"\n{self.paint(text, 'bold')}")

    def line(self, text: str = "") -> None:
        """Write a line for good."""
        self._erase()
        print(text, flush=True)

    def event(self, text: str) -> None:
        """Write a line with the time since the start."""
        self.line(f"  {self.paint(self.clock(), 'dim')}  {text}")

    def live(self, text: str) -> None:
        """Show what changes all the time: in place on a terminal, else as a line now and then."""
        if self.is_live:
            self._erase()
            self._live = f"  {self.clock()}  {text}"[: shutil.get_terminal_size().columns - 1]
            print(self._live, end="", flush=True)
        elif time.monotonic() >= self._next_plain:
            self._next_plain = time.monotonic() + SECONDS_BETWEEN_PLAIN
            self.event(text)

    def clock(self) -> str:
        """Return the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        return f"{minutes:2}:{seconds:02}"

    def _erase(self) -> None:
        if self._live:
            print("\r\033[K", end="")
            self._live = ""
