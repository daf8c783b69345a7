"""Several runs promote and roll back at once, in an order and at a pace that hypothesis draws.

The store is the real one; its Variables and its clock are simulated. Each read and write takes effect at some moment
before it returns.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.hooks.champions import VariableStore, carry_out
from airflow_provider_finetune.models.history import History
from airflow_provider_finetune.models.promotion import Rule, decide, roll_back
from tests.models.evaluations import CLEARLY_BETTER, evaluation, pair

if TYPE_CHECKING:
    from collections.abc import Callable

SETTLE = 10.0
NAME = "support-bot"


@dataclass
class World:
    """Variables, and a clock that moves on when every run waits for something."""

    seed: int
    slowest: float = 0.0
    now: float = 0.0
    variables: dict[str, str] = field(default_factory=dict)
    waiting: dict[int, tuple[float, Callable[[], Any] | None]] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, run: int, seconds: float, effect: Callable[[], Any] | None = None) -> Any:
        """Let time pass for a run, then take effect; the run whose moment comes first goes on first."""
        with self.lock:
            self.waiting[run] = (self.now + seconds, effect)
            self.running.discard(run)
            self.lock.notify_all()
            self.lock.wait_for(lambda: not self.running and min(self.waiting, key=self._moment) == run, timeout=30)
            assert not self.running
            self.now, _ = self.waiting.pop(run)
            self.running.add(run)
            return effect() if effect is not None else None

    def _moment(self, run: int) -> tuple[float, int]:
        return self.waiting[run][0], run

    def dice(self, run: int) -> random.Random:
        return random.Random(f"{self.seed}/{run}")

    def end(self, run: int) -> None:
        with self.lock:
            self.running.discard(run)
            self.lock.notify_all()


class Store(VariableStore):
    """The store as one of the runs has it."""

    def __init__(self, world: World, run: int) -> None:
        super().__init__(settle_seconds=SETTLE)
        self.world, self.run, self.dice = world, run, world.dice(run)

    def get(self, key: str) -> str | None:
        return self.there_and_back(lambda: self.world.variables.get(key))

    def set(self, key: str, text: str, description: str) -> None:
        self.there_and_back(lambda: self.world.variables.update({key: text}))

    def there_and_back(self, effect: Callable[[], Any]) -> Any:
        found = self.world.wait(self.run, self.dice.uniform(0, self.world.slowest), effect)
        self.world.wait(self.run, self.dice.uniform(0, self.world.slowest))
        return found

    def sleep(self, seconds: float) -> None:
        self.world.wait(self.run, seconds)


def run_at_once(world: World, actions: list[Callable[[Store], Any]]) -> list[Any]:
    """Run actions at the same time; return what each returned or raised."""
    ended: list[Any] = [None] * len(actions)
    world.running = set(range(len(actions)))

    def act(run: int) -> None:
        try:
            ended[run] = actions[run](Store(world, run))
        except (FineTuningError, ValueError) as error:  # NotComparable, or nothing to go back to
            ended[run] = error
        finally:
            world.end(run)

    threads = [threading.Thread(target=act, args=(run,)) for run in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ended


def promoting(run: int, against: str) -> Callable[[Store], Any]:
    found = evaluation(pair(f"model-{run}", against, *CLEARLY_BETTER))
    return lambda store: carry_out(
        store, NAME, lambda history: decide(history, found, Rule()), run={"run_id": str(run)}
    )


def going_back(run: int) -> Callable[[Store], Any]:
    return lambda store: carry_out(
        store, NAME, lambda history: roll_back(history, run={"run_id": str(run)}), tries=1, run={"run_id": str(run)}
    )


#: There and back: a read and a write end within the time that the store waits.
SLOWEST = SETTLE / 4
seeds = st.integers(0, 2**32)


@settings(max_examples=150, deadline=None)
@given(seeds, st.lists(st.booleans(), min_size=2, max_size=4))
def test_who_says_it_changed_the_champion_is_in_the_history_and_nobody_else(seed: int, promotes: list[bool]) -> None:
    world, alone = World(seed, SLOWEST), World(seed)
    for run, against in ((100, "base"), (101, "model-100")):
        assert run_at_once(alone, [promoting(run, against)])[0].changes
    world.variables = dict(alone.variables)

    actions = [promoting(n, "model-101") if does else going_back(n) for n, does in enumerate(promotes)]
    ended = run_at_once(world, actions)
    history = History.from_text(NAME, *world.variables.values())

    changed = {str(n) for n, end in enumerate(ended) if not isinstance(end, Exception) and end.changes}
    assert {record.run["run_id"] for record in history.records[:-2]} == changed
    assert [record.number for record in history.records] == list(range(len(history.records), 0, -1))
    for run, end in enumerate(ended):
        if not isinstance(end, Exception) and end.changes:
            assert end.record in history.records
            assert end.record.run == {"run_id": str(run)}
    promoted = [n for n, does in enumerate(promotes) if does and str(n) in changed]
    assert len(promoted) <= 1, "two candidates were compared with the same champion, and both took its place"


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(2, 4))
def test_of_several_first_champions_one_stands_and_the_others_are_refused(seed: int, runs: int) -> None:
    world = World(seed, SLOWEST)
    ended = run_at_once(world, [promoting(n, "base") for n in range(runs)])
    won = [end for end in ended if not isinstance(end, Exception)]
    assert len(won) == 1
    assert History.from_text(NAME, *world.variables.values()).records == (won[0].record,)
    lost = [str(end) for end in ended if isinstance(end, Exception)]
    assert all(f"is the champion of {NAME}" in reason for reason in lost)
