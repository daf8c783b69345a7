"""How far a job is, as a worker gets to know it: from its own looks, and from what was shown before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import explained
from airflow_provider_finetune.hooks.pages import payload
from airflow_provider_finetune.jobs.events import Event, Unseen
from airflow_provider_finetune.jobs.progress import JobProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.jobs.job import Job

#: For reading events, which are a courtesy.
EVENTS_SECONDS = 10.0


class WatchedProgress:
    """What a watch knows of its job's training; ``is_whole`` tells whether that is all there is to know.

    :param since: the event behind which the watch has begun; one from the first event on knows all by itself.
    """

    def __init__(self, hook: FineTuningHook, job_id: str, since: Unseen) -> None:
        self.hook = hook
        self.job_id = job_id
        self.known = JobProgress()
        self.job: Job | None = None
        self.begin(since)

    def begin(self, since: Unseen) -> None:
        """Note behind which event the watch begins."""
        self.since = (since.last_id, since.last_created_at)
        self.is_whole = since.last_id is None

    def saw(self, job: Job) -> None:
        """Take what the job says of itself."""
        self.job = job
        self.known.saw_job(job)

    def catch_up(self, shown: Mapping[str, Any]) -> None:
        """Make it whole: with what was shown before, and with the events between that and the watch.

        Where the events cannot be had, it does not become whole.

        :param shown: XComs of the task by key, as :meth:`.JobProgress.xcoms` gives them; none are no hindrance.
        """
        whole = JobProgress()
        whole.recall(shown)
        unseen = whole.unseen()
        if (unseen.last_id, unseen.last_created_at) == self.since:
            self.known.recall(shown)
            self.is_whole = True
            return
        try:
            with explained(f"list the events of fine-tuning job {self.job_id}"):
                events = self.hook.list_events(self.job_id, unseen=unseen, seconds=EVENTS_SECONDS)
        except (RequestRefused, EndpointUnreachable):
            self.known.recall(shown)
            return
        whole.saw_events(map(Event.from_api, map(payload, events)))
        if self.job is not None:
            whole.saw_job(self.job)
        whole.next_at = self.known.next_at
        self.known, self.is_whole = whole, True
