"""Where champions are kept: a store, by default one Airflow Variable for each name."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from airflow_provider_finetune.arguments import as_invalid_request
from airflow_provider_finetune.exceptions import FineTuningError, InvalidRequest, PromotionRefused
from airflow_provider_finetune.models.history import History, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.models.promotion import Decision

#: How often a run decides anew when other runs change the champion at the same time.
MOST_TRIES = 5


@runtime_checkable
class ChampionStore(Protocol):
    """What a store of champions can do. A team that keeps them elsewhere writes a class with these methods.

    A store may also have a method ``names()``, which returns all names that have champions. Clean-ups then find the
    champions by themselves.
    """

    def read(self, name: str) -> History:
        """Return the champions of a name, an empty history when there are none.

        :raises Exception: they cannot be read. "Cannot be read" must never look like "there are none".
        """

    def write(self, history: History) -> bool:
        """Keep a history whose newest record is new, or is there already from an earlier attempt.

        :returns: whether that record stands: False when another run has changed the champion meanwhile.
        """


class VariableStore:
    """Keeps the champions of a name in one Airflow Variable, as JSON that people and other programs can read.

    Every Airflow has Variables, ``airflow db clean`` leaves them alone, and the UI and the REST API show them.

    A Variable cannot be changed on the condition that it is still the same. So a run that writes one looks at it just
    before, and again ``settle_seconds`` later, when every other run that looked before the write has written too: of
    several runs at once, the last one to write stands, and each of the others sees that it does not. (This is Fischer's
    algorithm for mutual exclusion.) It holds while a read and a write together take less than ``settle_seconds``. A
    run that is slower may replace a record that another run has seen stand; the numbers of the records then still tell,
    since two tasks report the same one.

    :param prefix: what the Variable's key begins with; the name follows.
    :param settle_seconds: how long a run waits before it believes that its record stands.
    """

    def __init__(self, prefix: str = "finetune_champion_", settle_seconds: float = 3.0) -> None:
        self.prefix = prefix
        self.settle_seconds = settle_seconds

    def key(self, name: str) -> str:
        """Return the key of the Variable."""
        return f"{self.prefix}{name}"

    def read(self, name: str) -> History:
        """Return the champions of a name, an empty history when there are none.

        :raises InvalidRequest: the Variable holds something else.
        """
        key = self.key(_checked(name))
        text = self.get(key)
        try:
            return History.from_text(name, text)
        except ValueError as error:
            raise InvalidRequest(
                f"The Variable {key} does not hold the champions of {name}: {error}. Put back what it held, or delete "
                "it, which forgets them."
            ) from None

    def names(self) -> list[str] | None:
        """Return all names that have champions; None where Airflow lists no Variables: in a task of 3.0 to 3.2."""
        keys = _keys(self.prefix)
        return None if keys is None else sorted(key.removeprefix(self.prefix) for key in keys)

    def write(self, history: History) -> bool:
        """Keep the history if its second record is still the champion; return whether its first one stands.

        :raises InvalidRequest: what is written cannot be read, because the Variable is defined elsewhere too.
        """
        new, *older = history.records
        now = self.read(history.name).champion
        if now != new:
            if now != (older[0] if older else None):
                return False
            self.set(self.key(history.name), history.as_text(), f"The champion of {history.name}, and those before it")
        self.sleep(self.settle_seconds)
        then = self.read(history.name).champion
        if then != new and then == now:
            raise InvalidRequest(
                f"The Variable {self.key(history.name)} was written and reads as before: an environment variable or a "
                "secrets backend defines it too, and comes first. Remove it there, or use another store."
            )
        return then == new

    def get(self, key: str) -> str | None:
        """Return the text of a Variable; None when there is none.

        :raises FineTuningError: Airflow could not read it.
        """
        from airflow.providers.common.compat.sdk import Variable

        text: str | None = Variable.get(key, None)  # the name of the default differs between Airflow 2 and 3
        if text is not None or not _is_there(key):
            return text
        text = Variable.get(key, None)  # another run may just have written it
        if text is None:
            raise FineTuningError(f"Airflow has the Variable {key}, and could not read it. A retry may help.")
        return text

    def set(self, key: str, text: str, description: str) -> None:
        """Write a Variable."""
        from airflow.providers.common.compat.sdk import Variable

        Variable.set(key, text, description)

    def sleep(self, seconds: float) -> None:
        """Wait for other runs."""
        time.sleep(seconds)


def _is_there(key: str) -> bool:
    """Return whether Airflow's database has a Variable.

    ``Variable.get`` does not tell: it says that there is none also when Airflow cannot be asked, and whoever believes
    that forgets all champions. From 3.0 to 3.2, Airflow offers nothing better; and outside of a task nothing stands
    between this process and the database that could fail.
    """
    return key in (_keys(key) or ())


def _keys(prefix: str) -> list[str] | None:
    """Return the keys of the Variables in Airflow's database that begin so; None where Airflow does not list them."""
    from airflow.providers.common.compat import sdk

    variable: Any = sdk.Variable
    if hasattr(variable, "__tablename__"):  # Airflow 2
        from airflow.utils.session import create_session

        with create_session() as session:
            found = session.query(variable.key).filter(variable.key.startswith(prefix, autoescape=True))
            return [key for (key,) in found if key.startswith(prefix)]
    if not hasattr(variable, "keys"):
        return None
    try:
        return [key for key in variable.keys(prefix=prefix) if key.startswith(prefix)]
    except ImportError:  # in no task
        return None


def carry_out(
    store: ChampionStore, name: str, decide: Callable[[History], Decision], *, tries: int = MOST_TRIES, **signed: Any
) -> Decision:
    """Read, decide, write; return the decision, with its record as it stands.

    :param decide: decides on the history.
    :param tries: how often to decide, while other runs change the champion at the same time.
    :param signed: who, when and where: fields of the record.
    :raises PromotionRefused: other runs kept changing the champion. This one changed nothing.
    """
    for _ in range(tries):
        history = store.read(name)
        decision = decide(history)
        if not decision.changes:
            return decision
        if not decision.is_written:
            history = history.followed_by(replace(decision.record, **signed))
        if store.write(history):
            return replace(decision, record=history.records[0])
    now = store.read(name).champion
    raise PromotionRefused(
        f"Another run changed the champion of {name} at the same time, and this one changed nothing: "
        f"{now and now.model} is the champion now."
    )


def open_store(store: ChampionStore | str | None = None) -> ChampionStore:
    """Return a store.

    :param store: the store; the import path of one, or of a class that takes no arguments; None for Airflow's
        Variables.
    :raises InvalidRequest: there is none.
    """
    found: Any = VariableStore if store is None else store
    try:
        if isinstance(found, str):
            module, _, name = found.rpartition(".")
            found = getattr(import_module(module), name)
        if isinstance(found, type):
            found = found()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidRequest(f"store is {store!r}, which gives no store: {error}") from None
    if not isinstance(found, ChampionStore):
        raise InvalidRequest(f"store is {store!r}; expected an object with the methods of ChampionStore")
    return found


def _checked(name: str) -> str:
    with as_invalid_request():
        return check_name(name)
