"""Operators whose arguments may be URLs: what a URL hides is in no log, no exception and no rendered template."""

from __future__ import annotations

import functools
import os
import traceback
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_finetune.addresses import secrets_in
from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.jobs.secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context


class AddressedOperator(BaseOperator):
    """An operator with paths or URLs among its arguments.

    Their passwords, keys and signatures are told to Airflow, which masks them in the task's log and in its rendered
    templates.

    :cvar addresses: the names of these arguments; each is a path, a list of paths, or None.
    """

    addresses: ClassVar[Sequence[str]] = ()

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render the templates, as every operator does, before anything of them is shown."""
        super().render_template_fields(context, jinja_env)
        self._mask_addresses()

    def _mask_addresses(self) -> Secrets:
        """Tell Airflow what the addresses hide; return it."""
        found: frozenset[str] = frozenset()
        for name in self.addresses:
            given = getattr(self, name)
            for address in [given] if isinstance(given, (str, os.PathLike)) else given or ():
                found |= secrets_in(str(address))
        secrets = Secrets(found)
        if secrets.values:
            from airflow.providers.common.compat.sdk import mask_secret

            for secret in sorted(secrets.values):
                mask_secret(secret)
        return secrets


Task = TypeVar("Task", bound=AddressedOperator)
Result = TypeVar("Result")


def without_secrets(execute: Callable[[Task, Context], Result]) -> Callable[[Task, Context], Result]:
    """Return an ``execute`` that never raises an exception of a storage library with what a URL hides."""

    @functools.wraps(execute)
    def executed(task: Task, context: Context) -> Result:
        # Again: a mapped task is rendered by another object.
        secrets = task._mask_addresses()
        try:
            return execute(task, context)
        except Exception as error:
            whole = "".join(traceback.format_exception(error))
            if secrets.hidden_in(whole) == whole:
                raise
            said = secrets.hidden_in(str(error))
            ours = error if isinstance(error, FineTuningError) else None
            name = type(error).__name__
        # Not while the other one is handled: it would be this one's context, and shown with it.
        if ours is None:
            raise FineTuningError(f"{name}: {said}")
        ours.args = (said,)
        ours.__cause__ = ours.__context__ = None
        raise ours

    return executed
