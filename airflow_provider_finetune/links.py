"""The links from a task: to the vendor's page of its job, and to our own inside Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

#: XCom key of the link to the vendor's page of a job; not there for endpoints without such a page.
LINK_KEY = "job_link"
#: The path of our own page, below the one that Airflow is served under.
UI_PREFIX = "/finetune"


class FineTuningJobLink(BaseOperatorLink):
    """A button to the job's page; there as soon as the job exists, absent for endpoints without such a page."""

    name = "Fine-tuning job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL of the job's page, or an empty string."""
        return XCom.get_value(key=LINK_KEY, ti_key=ti_key) or ""


class TrainingLink(BaseOperatorLink):
    """A button to the page that shows the job's training: curves, checkpoints, events."""

    name = "Training"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL of the page."""
        return page_link(ti_key)


class EvaluationLink(TrainingLink):
    """A button to the page that shows an evaluation: scores, and each model beside the baseline."""

    name = "Evaluation"


class PromotionLink(TrainingLink):
    """A button to the page that shows the decision on a promotion, and the champions before."""

    name = "Promotion"


def page_link(ti: Any) -> str:
    """Return the URL of the page of a task instance, or of its key.

    On Airflow 3 it is relative: its UI resolves it, so a worker need not know where Airflow is served.
    """
    index = -1 if ti.map_index is None else ti.map_index
    task = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map": index}
    page = f"{UI_PREFIX}/page.html?"
    if hasattr(BaseOperatorLink, "xcom_key"):
        return page.removeprefix("/") + urlencode(task, quote_via=quote)
    from airflow.providers.common.compat.sdk import conf

    base = urlsplit(str(conf.get("webserver", "base_url"))).path.rstrip("/")
    return base + page + urlencode({**task, "api": "v1"}, quote_via=quote)


def push_page_link(ti: Any, link: BaseOperatorLink) -> None:
    """Make the button to our page appear now. By itself Airflow 3 asks for a link only when the task defers or ends."""
    key = getattr(link, "xcom_key", None)
    if key is not None:
        ti.xcom_push(key=key, value=page_link(ti))
