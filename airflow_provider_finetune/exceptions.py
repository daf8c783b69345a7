"""What can go wrong, as a tree. "no retry" marks what another Airflow try cannot mend.

::

    FineTuningError                     a retry may help
     ├── EndpointUnreachable            lost contact; says nothing about the job
     │    └── EndpointBusy                    it was reached, and said "later": nothing happened
     ├── SubmissionUnsettled            a create may have taken effect; the retry looks before it creates
     ├── EndpointOccupied               the endpoint runs one job at a time, and another one is running
     ├── FineTuningJobFailed            the job ended without a model, for a reason on the server's side
     │    └── FineTuningJobFailedForGood      no retry: bad data, blocked, no quota, cancelled
     ├── FineTuningJobTimeout           the job goes on; the task stopped waiting for it
     ├── InvalidRequest                 no retry: an argument is bad; nothing was sent
     ├── RequestRefused                 no retry: the server said no, and will again
     ├── RequestIgnored                 no retry: the endpoint would do otherwise than asked; the job was cancelled
     ├── DatasetError                   no retry: the data is bad or costs too much
     ├── EvaluationError                no retry: an evaluation can come to no result, or costs too much
     ├── NoChampion                     no model was promoted under a name yet
     └── PromotionRefused               no retry: a model may not become champion

A sensor that runs out of time raises Airflow's own ``AirflowSensorTimeout``.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class FineTuningError(AirflowException):
    """Anything this provider raises about fine-tuning."""


class EndpointUnreachable(FineTuningError):
    """The endpoint could not be asked; what became of the job is not known."""


class EndpointBusy(EndpointUnreachable):
    """The endpoint was reached, and does nothing just now: a rate limit, or a file that it is still processing."""


class SubmissionUnsettled(FineTuningError):
    """A create request may or may not have taken effect, and the endpoint does not tell."""


class EndpointOccupied(FineTuningError):
    """The endpoint runs one job at a time, and another one is running. Nothing was created.

    :param job_id: the job that holds the endpoint.
    """

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(f"{message} Fine-tuning job {job_id} holds the endpoint.")
        self.job_id = job_id


class FineTuningJobFailed(FineTuningError):
    """The job ended without a usable model."""


class FineTuningJobFailedForGood(FineTuningJobFailed, AirflowFailException):
    """The job ended without a usable model, and the same job would again."""


class FineTuningJobTimeout(FineTuningError):
    """The wait ended before the job did. The job was not cancelled."""


class InvalidRequest(FineTuningError, AirflowFailException, ValueError):
    """An argument is bad; nothing was sent. A ``ValueError`` too, for it may be raised while a DAG is parsed."""


class RequestRefused(FineTuningError, AirflowFailException):
    """The endpoint refused a request, and would refuse it again."""


class RequestIgnored(FineTuningError, AirflowFailException):
    """The endpoint's answer showed another method, hyperparameter or suffix than asked for; the job was cancelled."""


class DatasetError(FineTuningError, AirflowFailException):
    """The dataset is bad, or training on it costs more than allowed."""


class EvaluationError(FineTuningError, AirflowFailException):
    """An evaluation can come to no result, or costs more than allowed. The answers so far are kept."""


class NoChampion(FineTuningError):
    """No model was promoted under this name yet."""


class PromotionRefused(FineTuningError, AirflowFailException):
    """A model may not become champion: it is not better, or it was compared with another model than the champion."""
