"""The page of a fine-tuning job in Airflow's own UI: a tab of the task instance, and a page of its own.

Nothing is served but the static files in ``ui/``. What the page shows it reads from Airflow's public REST API, in the
browser, with the rights of the person who looks at it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

from airflow_provider_finetune import __version__
from airflow_provider_finetune.links import UI_PREFIX, EvaluationLink, FineTuningJobLink, PromotionLink, TrainingLink
from airflow_provider_finetune.models import champion

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from flask import Blueprint

PACKAGE = "airflow_provider_finetune"
#: The operators whose tasks have something to show.
OPERATORS = (
    "CreateFineTuningJobOperator",
    "FineTuningJobSensor",
    "PauseFineTuningJobOperator",
    "ResumeFineTuningJobOperator",
    "CancelFineTuningJobOperator",
    "EvaluateModelOperator",
    "PromoteModelOperator",
    "RollbackModelOperator",
)
#: For the page of its own: whatever a text might hold, it runs no script and loads nothing but these files.
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
}


class StaticFiles:
    """An ASGI app that serves the files of the UI.

    Every process of Airflow imports the plugin, and only the API server needs this: what it takes is imported with the
    first request.
    """

    @cached_property
    def app(self) -> Any:
        """The app behind it."""
        from starlette.staticfiles import StaticFiles

        return StaticFiles(packages=[(PACKAGE, "ui")])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *ours]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _path(name: str) -> str:
    """Return the URL path of a file of the UI."""
    base = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
    return f"{base}{UI_PREFIX}/{name}"


class FineTuningPlugin(AirflowPlugin):
    """Adds the tab "Training" (Airflow 3.1 and later), the page that the button "Training" leads to, and a macro."""

    name = "finetune"
    # A class of links that no plugin or provider names hides every link of a task on Airflow 2.
    operator_extra_links: list[Any] = [  # noqa: RUF012 - as Airflow declares it
        FineTuningJobLink(),
        TrainingLink(),
        EvaluationLink(),
        PromotionLink(),
    ]
    #: ``{{ macros.finetune.champion("support-bot").model }}``
    macros: list[Any] = [champion]  # noqa: RUF012

    if hasattr(AirflowPlugin, "fastapi_apps"):
        fastapi_apps: list[Any] = [{"name": "Fine-tuning", "app": StaticFiles(), "url_prefix": UI_PREFIX}]
        react_apps: list[Any] = [
            {
                "name": "Training",
                "bundle_url": f"{_path('plugin.js')}?v={__version__}",
                "destination": "task_instance",
                "url_route": "training",
                "icon": _path("icon.svg"),
                # From Airflow 3.4 the tab is on these tasks only; earlier versions show it on all, and ignore this.
                "applies_to": {"operator_name": list(OPERATORS)},
            }
        ]
    else:

        @cached_property
        def flask_blueprints(self) -> list[Blueprint]:  # type: ignore[override]
            """The same files behind Flask, which only Airflow 2's web server has imported."""
            from flask import Blueprint

            blueprint = Blueprint("finetune", PACKAGE, static_folder="ui", static_url_path="", url_prefix=UI_PREFIX)

            @blueprint.after_request
            def with_headers(response: Any) -> Any:
                response.headers.update(HEADERS)
                return response

            return [blueprint]
