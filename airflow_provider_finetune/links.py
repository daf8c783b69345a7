"""The link from a task to the vendor's page of its job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class FineTuningJobLink(BaseOperatorLink):
    """A button to the job's page; there as soon as the job exists, absent for endpoints without such a page."""

    name = "Fine-tuning job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL of the job's page, or an empty string."""
        return XCom.get_value(key="job_link", ti_key=ti_key) or ""
