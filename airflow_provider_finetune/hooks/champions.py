"""Where champions are kept: a store, by default one Airflow Variable for each name."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from airflow_provider_finetune.exceptions import InvalidRequest
from airflow_provider_finetune.models.history import History, check_name


@runtime_checkable
class ChampionStore(Protocol):
    """What a store of champions can do. A team that keeps them elsewhere writes a class with this method."""

    def read(self, name: str) -> History:
        """Return the champions of a name, an empty history when there are none."""


class VariableStore:
    """Keeps the champions of a name in one Airflow Variable, as JSON that people and other programs can read.

    Every Airflow has Variables, ``airflow db clean`` leaves them alone, and the UI and the REST API show them.

    :param prefix: what the Variable's key begins with; the name follows.
    """

    def __init__(self, prefix: str = "finetune_champion_") -> None:
        self.prefix = prefix

    def key(self, name: str) -> str:
        """Return the key of the Variable."""
        return f"{self.prefix}{name}"

    def read(self, name: str) -> History:
        """Return the champions of a name, an empty history when there are none.

        :raises InvalidRequest: the Variable holds something else.
        """
        from airflow.providers.common.compat.sdk import Variable

        key = self.key(_checked(name))
        # The name of the default differs between Airflow 2 and 3.
        text = Variable.get(key, None)
        try:
            return History.from_text(name, text)
        except ValueError as error:
            raise InvalidRequest(
                f"The Variable {key} does not hold the champions of {name}: {error}. Restore it from your audit log "
                "or delete it, which forgets them."
            ) from None


def open_store(store: ChampionStore | str | None = None) -> ChampionStore:
    """Return a store.

    :param store: the store; the import path of one, or of a class or function that gives one when it is called; None
        for Airflow's Variables.
    :raises InvalidRequest: there is none.
    """
    if store is None:
        return VariableStore()
    found: Any = store
    if isinstance(store, str):
        module, _, name = store.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidRequest(f"store is {store!r}, which cannot be imported: {error}") from None
    if isinstance(found, type) or not isinstance(found, ChampionStore):
        found = found() if callable(found) else found
    if not isinstance(found, ChampionStore):
        raise InvalidRequest(f"store is {store!r}; expected an object with the methods of ChampionStore")
    return found


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
