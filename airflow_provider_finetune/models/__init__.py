"""A model's life after its job: which model is the champion of a name, which ones were, and when another may follow.

The rules in this package are pure. :func:`champion` is the one exception: it asks the store for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from airflow_provider_finetune.models.history import Champion

__all__ = ["champion"]

_Default = TypeVar("_Default")
_NOTHING: Any = object()


@overload
def champion(name: str, *, store: Any = None) -> Champion: ...
@overload
def champion(name: str, default: _Default, *, store: Any = None) -> Champion | _Default: ...
def champion(name: str, default: Any = _NOTHING, *, store: Any = None) -> Any:
    """Return the champion of a name: ``.model`` is the model, ``.conn_id`` the connection where it answers.

    It reads an Airflow Variable, so it works in a task and in a template, not while a DAG file is parsed.

    :param name: as in ``PromoteModelOperator``, for example ``"support-bot"``.
    :param default: what to return when there is no champion yet; without it, that is an error.
    :param store: where champions are kept, an object or an import path; Airflow's Variables by default.
    :raises NoChampion: there is no champion yet, and no default.
    """
    from airflow_provider_finetune.exceptions import NoChampion
    from airflow_provider_finetune.hooks.champions import open_store

    found = open_store(store).read(name).champion
    if found is not None:
        return found
    if default is _NOTHING:
        raise NoChampion(
            f"{name} has no champion yet: no task of PromoteModelOperator has promoted a model under this name. Give a "
            "default where a model is needed before that."
        )
    return default
