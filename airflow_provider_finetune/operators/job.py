"""Creating a fine-tuning job exactly once; the operators that pause, resume and cancel one are here by name."""

from __future__ import annotations

import time
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import BaseOperator
from pydantic import BaseModel

from airflow_provider_finetune.arguments import as_invalid_request, choice, ids, interval, optional, required, seconds
from airflow_provider_finetune.exceptions import (
    EndpointOccupied,
    FineTuningError,
    FineTuningJobTimeout,
    InvalidRequest,
    RequestIgnored,
    RequestRefused,
)
from airflow_provider_finetune.jobs.goal import goes_on
from airflow_provider_finetune.jobs.identity import Marks, Submission, check_user_metadata
from airflow_provider_finetune.jobs.model import WARN_DAYS, days_left
from airflow_provider_finetune.jobs.payload import mapping
from airflow_provider_finetune.jobs.request import (
    JobRequest,
    check_literals,
    check_request,
    doubtful_names,
    method_body,
    plain,
    with_grader,
    without_grader,
)
from airflow_provider_finetune.jobs.status import TERMINAL
from airflow_provider_finetune.links import FineTuningJobLink, TrainingLink
from airflow_provider_finetune.operators.goal import (
    CancelFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.plural import counted
from airflow_provider_finetune.progress import show
from airflow_provider_finetune.task import SECONDS_TO_CANCEL, age, began, on_kill_by_a_person
from airflow_provider_finetune.waiting import JobWaiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.endpoints import Endpoint
    from airflow_provider_finetune.hooks.submission import JobSubmission
    from airflow_provider_finetune.jobs.attempt import IfExists
    from airflow_provider_finetune.jobs.job import Job

__all__ = [
    "CancelFineTuningJobOperator",
    "CreateFineTuningJobOperator",
    "PauseFineTuningJobOperator",
    "ResumeFineTuningJobOperator",
]


class CreateFineTuningJobOperator(JobWaiting, BaseOperator):
    """Creates a fine-tuning job exactly once, whatever breaks; can wait for it.

    **A job costs money from the moment the endpoint accepts it.** A retry, a cleared task or a worker that died finds
    the job again by its metadata or its seed, and goes on with it instead of paying for another one.

    Pushes ``job_id`` as soon as the job exists. Returns the job id; with ``wait_for_completion`` the outcome, and
    pushes what :class:`~airflow_provider_finetune.sensors.job.FineTuningJobSensor` pushes.

    :param model: the base model, or a fine-tuned one to go on from (templated).
    :param training_file: id of the uploaded training file (templated).
    :param validation_file: id of the uploaded validation file (templated); reinforcement needs one.
    :param method: how to train: a model of :mod:`airflow_provider_finetune.jobs.request`, one of the SDK's
        (``openai.types.fine_tuning``), or the API's mapping ``{"type": "supervised", "supervised": {"hyperparameters":
        {"n_epochs": 3}}}``, of whose parts each may be such a model too (templated, but for its grader, whose braces
        are the API's). **More epochs cost proportionally more.**
    :param hyperparameters: the API's older argument for supervised training, ``{"n_epochs": 3}``, which gateways and
        older servers want in place of ``method`` (templated).
    :param suffix: up to 64 characters for the fine-tuned model's name (templated).
    :param seed: 0 to 2147483647; the same seed and data give about the same model (templated). Without one, it is
        derived from the task and the request, and the job is known again by it where an endpoint forgets metadata.
    :param metadata: up to 11 pairs of your own, keys up to 64 and values up to 512 characters (templated); 5 more are
        the provider's.
    :param integrations: the API's list of integrations, for example Weights and Biases (templated).
    :param extra_body: fields that only a compatible server knows (templated).
    :param if_exists: what to do when an earlier attempt of this task, or the task before it was cleared, has a job that
        is alive or succeeded: go on with it (``"reuse"``), fail (``"fail"``), or create another whenever a person
        clears the task (``"new"``; retries still go on with theirs).
    :param existing_job_id: go on with this job, and create none (templated). For an endpoint that keeps nothing of what
        a job could be known by: after a lost answer, the task fails there and names the jobs it may be.
    :param foreign_job_ids: jobs that are not this task's, of those that the task has named (templated).
    :param when_busy: what to do where an endpoint runs one job at a time and another one is running: ``"wait"`` for it
        to end, deferred if ``deferrable``, up to ``timeout``; or ``"fail"``.
    :param on_ignored: what to do when the endpoint's answer shows another method, hyperparameter or suffix than asked
        for: ``"warn"`` in the log, ``"cancel"`` the job at once and fail without retries, or ``"accept"`` it.
    :param wait_for_completion: wait for the job as the sensor does.
    :param deferrable: wait in the triggerer, without holding a worker.
    :param poll_interval: seconds, or a timedelta, at least 0.1 s, between two looks at the job.
    :param timeout: seconds, or a timedelta, to wait for the job, 24 hours by default; then the task fails and the job
        goes on. The wait for an endpoint that is busy has as long.
    :param cancel_on_kill: cancel the job when a person kills the task (while deferred: Airflow 3.3 and later).
    :param list_lag: seconds within which a created job shows in the endpoint's job list. A retry waits this long.
    :param conn_id: the Airflow connection, of type ``openai`` (templated).
    :raises InvalidRequest: an argument is bad. Literal ones are refused when the DAG is parsed.
    :raises RequestRefused: the endpoint refused, and would again.
    :raises RequestIgnored: the endpoint would have trained otherwise than asked; the job was cancelled.
    :raises SubmissionUnsettled: a job may exist, and the endpoint does not tell.
    :raises EndpointOccupied: the endpoint is busy with another job, and ``when_busy`` is ``"fail"``.
    :raises FineTuningError: see :mod:`airflow_provider_finetune.exceptions`.
    """

    template_fields: Sequence[str] = (
        "model",
        "training_file",
        "validation_file",
        "method",
        "hyperparameters",
        "suffix",
        "seed",
        "metadata",
        "integrations",
        "extra_body",
        "existing_job_id",
        "foreign_job_ids",
        "conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("method", "hyperparameters", "metadata", "extra_body"), "json"
    )
    operator_extra_links = (FineTuningJobLink(), TrainingLink())
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        model: str,
        training_file: str,
        validation_file: str | None = None,
        method: BaseModel | Mapping[str, Any] | None = None,
        hyperparameters: BaseModel | Mapping[str, Any] | None = None,
        suffix: str | None = None,
        seed: int | str | None = None,
        metadata: dict[str, str] | None = None,
        integrations: list[dict[str, Any]] | None = None,
        extra_body: dict[str, Any] | None = None,
        if_exists: IfExists = "reuse",
        existing_job_id: str | None = None,
        foreign_job_ids: Sequence[str] | str = (),
        when_busy: Literal["wait", "fail"] = "wait",
        on_ignored: Literal["warn", "cancel", "accept"] = "warn",
        wait_for_completion: bool = False,
        deferrable: bool = True,
        poll_interval: float | timedelta = 60,
        timeout: float | timedelta = 24 * 60 * 60,
        cancel_on_kill: bool = True,
        list_lag: float | timedelta = 10,
        conn_id: str = "openai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.training_file = training_file
        self.validation_file = validation_file
        self.method = method_body(method) if isinstance(method, BaseModel) else plain(method)
        self.hyperparameters = plain(hyperparameters)
        self.suffix = suffix
        self.seed = seed
        self.metadata = metadata
        self.integrations = integrations
        self.extra_body = extra_body
        choice("if_exists", if_exists, ("reuse", "fail", "new"))
        self.if_exists = if_exists
        self.existing_job_id = existing_job_id
        self.foreign_job_ids = foreign_job_ids
        choice("when_busy", when_busy, ("wait", "fail"))
        self.when_busy = when_busy
        choice("on_ignored", on_ignored, ("warn", "cancel", "accept"))
        self.on_ignored = on_ignored
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = interval("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)
        self.cancel_on_kill = cancel_on_kill
        self.list_lag = seconds("list_lag", list_lag)
        self.conn_id = conn_id
        with as_invalid_request():
            check_literals({name: getattr(self, name) for name in JobRequest.model_fields})
        for doubt in self._doubts():
            warnings.warn(f"{self.task_id}: {doubt}", stacklevel=3)
        # A grader's {{sample.output_text}} is the API's own template, which Airflow must not render.
        self.method, self._grader = without_grader(self.method)
        self._submission: JobSubmission | None = None
        self._ti: Any = None
        self._job_id: str | None = None
        self._killing: threading.Thread | None = None

    def execute(self, context: Context) -> Any:
        """Create the job, or find it; wait for it if asked to."""
        return self._run(context, None)

    def submit_again(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take up the submission where it had to wait for another job to end."""
        if not event or event.get("event") == "timeout":
            holder = (event or {}).get("job_id", "another job")
            raise FineTuningJobTimeout(
                f"The endpoint is still busy with {holder}, and the time to wait is over. No job was created for this "
                "task; raise the timeout, or let fewer tasks run at once with an Airflow pool."
            )
        return self._run(context, float(event["end_time"]))

    def _run(self, context: Context, end_time: float | None) -> Any:
        try:
            with self.client_closed():
                return self._submit(context, end_time or time.time() + self.timeout)
        finally:
            if self._killing is not None:  # a thread does not outlive the task's process
                self._killing.join(self.list_lag + SECONDS_TO_CANCEL)

    def _submit(self, context: Context, end_time: float) -> Any:
        started = time.monotonic() - age(context["ti"])
        request = self._request()
        for doubt in self._doubts():
            self.log.warning("%s", doubt)
        body = self._body(request, self.hook.endpoint)
        self._check_model(request.model)
        submission = self._prepare(context, request, body, started)
        self._ti, self._submission = context["ti"], submission
        while True:
            try:
                submitted = submission.run()
                break
            except EndpointOccupied as occupied:
                self._wait_for_room(occupied, end_time)
        self._job_id = submitted.job.id
        context["ti"].xcom_push(key="job_id", value=submitted.job.id)
        self.push_link(context, submitted.job.id)
        if submitted.created:
            self.log.info("Created fine-tuning job %s of %s", submitted.job.id, request.model)
        self._compare(request, submitted.job)
        watch = self.watch(submitted.job.id, time.time() + self.timeout)
        watch.progress.saw(submitted.job)
        show(context, watch.progress)
        if not self.wait_for_completion:
            return submitted.job.id
        self.hold_to_execution_timeout(context, watch)
        if submitted.created:
            watch.known_by = time.time() + self.list_lag
        return self.wait(context, watch)

    def _request(self) -> JobRequest:
        for name in ("model", "training_file"):
            required(name, getattr(self, name))
        fields = {name: getattr(self, name) for name in JobRequest.model_fields}
        with as_invalid_request("The request for a fine-tuning job is not valid:\n"):
            check_user_metadata(self.metadata)
            return check_request({**fields, "method": with_grader(self.method, self._grader)})

    def _doubts(self) -> list[str]:
        return doubtful_names({"method": self.method, "hyperparameters": self.hyperparameters})

    def _body(self, request: JobRequest, endpoint: Endpoint) -> dict[str, Any]:
        """Return the request as the endpoint takes it.

        :raises InvalidRequest: the endpoint is known not to do what is asked for.
        """
        body = request.body()
        if more := mapping(self.hook.settings.get("extra_body")):
            body["extra_body"] = {**more, **body.get("extra_body", {})}
        if "suffix" in body and "suffix" in endpoint.cannot:
            raise InvalidRequest(f"suffix is {request.suffix!r}, but {endpoint.title} refuses a suffix. Leave it out.")
        if "method" in body and "method" in endpoint.cannot:
            kind = body.pop("method")["type"]
            if kind != "supervised":
                raise InvalidRequest(
                    f"method is {kind!r}, but {endpoint.title} ignores the method and trains supervised. Use another "
                    "endpoint for it."
                )
            if asked := request.asked_hyperparameters():
                body["hyperparameters"] = asked
            self.log.info(
                "%s ignores the method; its hyperparameters are sent as the API's older argument", endpoint.title
            )
        return body

    def _prepare(self, context: Context, request: JobRequest, body: dict[str, Any], started: float) -> JobSubmission:
        from airflow_provider_finetune.hooks.submission import JobSubmission
        from airflow_provider_finetune.jobs.attempt import Attempt

        ti = context["ti"]
        store = context.get("task_state_store")
        # Clearing a task raises max_tries by the number of tries so far; retries leave it alone.
        generation = ti.max_tries - (self.retries or 0) if self.if_exists == "new" else None
        identity = Submission(
            ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, generation
        )
        fingerprint = request.fingerprint()
        own: dict[str, Any] = {"metadata": identity.metadata(fingerprint, request.metadata)}
        if request.seed is None:
            own["seed"] = identity.seed(fingerprint)
        attempt = Attempt(
            marks=Marks(
                submission=identity.key,
                fingerprint=fingerprint,
                model=request.model,
                training_file=request.training_file,
                seed=own.get("seed", request.seed),
                derived="seed" in own,
            ),
            first=ti.try_number <= 1,
            started=started,
            list_lag=self.list_lag,
            if_exists=self.if_exists,
            epoch=time.time() - (time.monotonic() - started),
            since=began(context),
            has_store=store is not None,
            metadata_is_kept=self.hook.endpoint.keeps_metadata,
            one_at_a_time=self.hook.endpoint.one_at_a_time,
            request=request,
            existing_job_id=optional(self.existing_job_id),
            foreign_job_ids=frozenset(ids(self.foreign_job_ids)),
        )
        return JobSubmission(self.hook, body, own, attempt, store, self.log)

    def _wait_for_room(self, occupied: EndpointOccupied, end_time: float) -> None:
        """Wait until the job that holds the endpoint has ended; deferred, this does not return."""
        if self.when_busy == "fail":
            raise occupied
        self.log.info("%s Waiting for it to end; this task has created nothing yet.", occupied)
        if time.time() >= end_time:
            raise FineTuningJobTimeout(f"{occupied} The time to wait for it is over; nothing was created.")
        if self.deferrable:
            from airflow_provider_finetune.triggers.endpoint import EndpointFreeTrigger

            self.defer(
                trigger=EndpointFreeTrigger(self.conn_id, occupied.job_id, self.poll_interval, end_time),
                method_name="submit_again",
                timeout=timedelta(seconds=max(0.0, end_time - time.time()) + self.poll_interval + 60),
            )
        watch = self.watch(occupied.job_id, end_time)
        while time.time() < end_time and watch.is_alive():
            time.sleep(self.poll_interval)

    def _compare(self, request: JobRequest, job: Job) -> None:
        """Hold what was asked for against what the endpoint says it will do.

        :raises RequestIgnored: it says otherwise, and ``on_ignored`` is ``"cancel"``.
        """
        from airflow_provider_finetune.hooks.fine_tuning import explained
        from airflow_provider_finetune.jobs.comparison import differences

        found = differences(request, job) if self.on_ignored != "accept" else []
        if not found:
            return
        said = "; ".join(found)
        if self.on_ignored == "warn" or job.status in TERMINAL or job.id == optional(self.existing_job_id):
            self.log.warning(
                "Fine-tuning job %s is not what was asked for. %s. Cancel it if you do not want to pay for it "
                "(on_ignored='cancel' does that; 'accept' says nothing)",
                job.id,
                said,
            )
            return
        self.log.warning("Fine-tuning job %s is not what was asked for; cancelling it", job.id)
        with explained(f"cancel fine-tuning job {job.id}, which is not what was asked for ({said})"):
            self.hook.cancel_job(job.id)
        raise RequestIgnored(f"Fine-tuning job {job.id} was not what was asked for, and was cancelled: {said}.")

    def _check_model(self, model: str) -> None:
        """Warn of, or refuse, a base model that is going away, where the endpoint tells."""
        from airflow_provider_finetune.hooks.fine_tuning import explained

        try:
            with explained(f"retrieve model {model}"):
                shutdown = getattr(self.hook.retrieve_model(model), "shutdown_date", None)
        except FineTuningError as error:  # many endpoints do not tell; creating the job will
            self.log.debug("%s", error)
            return
        left = days_left(shutdown, datetime.now(tz=UTC).date())
        if left is not None and left < 0:
            raise RequestRefused(
                f"The base model {model} was shut down on {shutdown}: a model trained on it could not be used. Choose "
                "another base model."
            )
        if left is not None and left <= WARN_DAYS:
            self.log.warning(
                "The base model %s shuts down on %s, in %s, and its fine-tunes with it",
                model,
                shutdown,
                counted(left, "day"),
            )

    def timed_out(self, reason: str) -> Exception:
        """Return the exception for a job that took longer than ``timeout``."""
        return FineTuningJobTimeout(reason)

    def on_kill(self) -> None:
        """Cancel the job, if it was a person who killed the task."""
        if self._submission is None or self._killing is not None:
            return
        if self._job_id is not None and not self.wait_for_completion:
            return  # the task has done its work
        if not self.cancel_on_kill:
            if self._job_id is not None:
                self.log.warning("%s", goes_on(self._job_id, self.conn_id))
            return
        self._submission.stopping = True
        self._killing = on_kill_by_a_person(self._ti, self._job_id, self.log, self._abandon)

    def _abandon(self) -> None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        assert self._submission is not None
        hook = FineTuningHook(conn_id=self.conn_id)
        with hook.conn:
            self._submission.abandon(hook)
