"""Creating a fine-tuning job exactly once; pausing, resuming and cancelling one."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator
from pydantic import BaseModel

from airflow_provider_finetune.arguments import as_invalid_request, choice, required, seconds
from airflow_provider_finetune.exceptions import (
    EndpointUnreachable,
    FineTuningError,
    FineTuningJobTimeout,
    RequestRefused,
)
from airflow_provider_finetune.jobs.goal import Goal, Step, next_step, worth_waking
from airflow_provider_finetune.jobs.identity import Submission, check_user_metadata
from airflow_provider_finetune.jobs.model import WARN_DAYS, days_left
from airflow_provider_finetune.jobs.request import (
    JobRequest,
    check_literals,
    check_request,
    method_body,
    with_grader,
    without_grader,
)
from airflow_provider_finetune.jobs.status import Kind
from airflow_provider_finetune.links import FineTuningJobLink
from airflow_provider_finetune.waiting import JobWaiting, NotYet

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.submission import JobSubmission
    from airflow_provider_finetune.hooks.watch import JobWatch
    from airflow_provider_finetune.jobs.job import Job
    from airflow_provider_finetune.jobs.status import Decision
    from airflow_provider_finetune.jobs.submission import IfExists

#: States of a task instance that only a person gives to a task that is running.
_SET_BY_A_PERSON = frozenset({"failed", "success", "skipped", "restarting", "removed"})
#: How long a killed task waits for its job to be cancelled; Airflow 3 grants it 5 seconds at most.
SECONDS_TO_CANCEL = 10.0


class CreateFineTuningJobOperator(JobWaiting, BaseOperator):
    """Creates a fine-tuning job exactly once, whatever breaks; can wait for it.

    **A job costs money from the moment the server accepts it.** A retry, a cleared task or a worker that died finds the
    job again by its metadata and goes on with it instead of paying for another one.

    Pushes ``job_id`` as soon as the job exists. Returns the job id; with ``wait_for_completion`` the outcome, and
    pushes what :class:`~airflow_provider_finetune.sensors.job.FineTuningJobSensor` pushes.

    :param model: the base model, or a fine-tuned one to go on from (templated).
    :param training_file: id of the uploaded training file (templated).
    :param validation_file: id of the uploaded validation file (templated); reinforcement needs one.
    :param method: how to train: a model of :mod:`airflow_provider_finetune.jobs.request`, one of the SDK's
        (``openai.types.fine_tuning``), or the API's mapping ``{"type": "supervised", "supervised": {"hyperparameters":
        {"n_epochs": 3}}}`` (templated, but for its grader, whose braces are the API's). **More epochs cost
        proportionally more.**
    :param suffix: up to 64 characters for the fine-tuned model's name (templated).
    :param seed: 0 to 2147483647; the same seed and data give about the same model (templated).
    :param metadata: up to 11 pairs of your own, keys up to 64 and values up to 512 characters (templated); 5 more are
        the provider's.
    :param integrations: the API's list of integrations, for example Weights and Biases (templated).
    :param extra_body: fields that only a compatible server knows (templated).
    :param if_exists: what to do when an earlier try of this task, or the task before it was cleared, has a job that is
        alive or succeeded: go on with it (``"reuse"``), fail (``"fail"``), or create another whenever a person clears
        the task (``"new"``; retries still go on with theirs).
    :param wait_for_completion: wait for the job as the sensor does.
    :param deferrable: wait in the triggerer, without holding a worker.
    :param poll_interval: seconds, or a timedelta, between two looks at the job.
    :param timeout: seconds, or a timedelta, to wait for the job, 24 hours by default; then the task fails and the job
        goes on.
    :param cancel_on_kill: cancel the job when a person kills the task (while deferred: Airflow 3.3 and later).
    :param list_lag: seconds within which a created job shows in the endpoint's job list. A retry waits this long.
    :param conn_id: the Airflow connection, of type ``openai`` (templated).
    :raises InvalidRequest: an argument is bad. Literal ones are refused when the DAG is parsed.
    :raises RequestRefused: the endpoint refused, and would again.
    :raises FineTuningError: see :mod:`airflow_provider_finetune.exceptions`.
    """

    template_fields: Sequence[str] = (
        "model",
        "training_file",
        "validation_file",
        "method",
        "suffix",
        "seed",
        "metadata",
        "integrations",
        "extra_body",
        "conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"method": "json", "metadata": "json", "extra_body": "json"}
    operator_extra_links = (FineTuningJobLink(),)
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        model: str,
        training_file: str,
        validation_file: str | None = None,
        method: BaseModel | Mapping[str, Any] | None = None,
        suffix: str | None = None,
        seed: int | str | None = None,
        metadata: dict[str, str] | None = None,
        integrations: list[dict[str, Any]] | None = None,
        extra_body: dict[str, Any] | None = None,
        if_exists: IfExists = "reuse",
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
        self.method = method_body(method) if isinstance(method, BaseModel) else method
        self.suffix = suffix
        self.seed = seed
        self.metadata = metadata
        self.integrations = integrations
        self.extra_body = extra_body
        choice("if_exists", if_exists, ("reuse", "fail", "new"))
        self.if_exists = if_exists
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)
        self.cancel_on_kill = cancel_on_kill
        self.list_lag = seconds("list_lag", list_lag)
        self.conn_id = conn_id
        with as_invalid_request():
            check_literals({name: getattr(self, name) for name in JobRequest.model_fields})
        # A grader's {{sample.output_text}} is the API's own template, which Airflow must not render.
        self.method, self._grader = without_grader(self.method)
        self._submission: JobSubmission | None = None
        self._ti: Any = None
        self._job_id: str | None = None
        self._killing: threading.Thread | None = None

    def execute(self, context: Context) -> Any:
        """Create the job, or find it; wait for it if asked to."""
        try:
            with self.client_closed():
                return self._execute(context)
        finally:
            if self._killing is not None:  # a thread does not outlive the task's process
                self._killing.join(self.list_lag + SECONDS_TO_CANCEL)

    def _execute(self, context: Context) -> Any:
        started = time.monotonic() - _age(context["ti"])
        request = self._request()
        self._check_model(request.model)
        submission = self._prepare(context, request, started)
        self._ti, self._submission = context["ti"], submission
        submitted = submission.run()
        self._job_id = submitted.job.id
        context["ti"].xcom_push(key="job_id", value=submitted.job.id)
        self.push_link(context, submitted.job.id)
        if submitted.created:
            self.log.info("Created fine-tuning job %s of %s", submitted.job.id, request.model)
        if not self.wait_for_completion:
            return submitted.job.id
        watch = self.watch(submitted.job.id, time.time() + self.timeout)
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

    def _prepare(self, context: Context, request: JobRequest, started: float) -> JobSubmission:
        from airflow_provider_finetune.hooks.submission import JobSubmission
        from airflow_provider_finetune.jobs.submission import Attempt

        ti = context["ti"]
        # Clearing a task raises max_tries by the number of tries so far; retries leave it alone.
        generation = ti.max_tries - (self.retries or 0) if self.if_exists == "new" else None
        identity = Submission(
            ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, generation
        )
        fingerprint = request.fingerprint()
        attempt = Attempt(
            submission=identity.key,
            fingerprint=fingerprint,
            first=ti.try_number <= 1,
            started=started,
            list_lag=self.list_lag,
            if_exists=self.if_exists,
        )
        body = {**request.body(), "metadata": identity.metadata(fingerprint, request.metadata)}
        return JobSubmission(self.hook, body, attempt, context.get("task_state_store"), self.log)

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
                "The base model %s shuts down on %s, in %s days, and its fine-tunes with it", model, shutdown, left
            )

    def timed_out(self, reason: str) -> Exception:
        """Return the exception for a job that took longer than ``timeout``."""
        return FineTuningJobTimeout(reason)

    def on_kill(self) -> None:
        """Cancel the job, if it was a person who killed the task.

        Airflow calls this too when a worker shuts down or has lost its heartbeat; the task's retry goes on with the
        job then, so it must live. The state of the task tells the two apart.
        """
        if not self.cancel_on_kill or self._submission is None or self._killing is not None:
            return
        if self._job_id is not None and not self.wait_for_completion:
            return  # the task has done its work
        self._submission.stopping = True
        # In a thread: the signal may have interrupted a conversation with the supervisor, or a request, and neither
        # goes on before this returns.
        self._killing = threading.Thread(target=self._cancel_if_killed_by_a_person, daemon=True)
        self._killing.start()
        self._killing.join(2.0)

    def _cancel_if_killed_by_a_person(self) -> None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        assert self._submission is not None
        try:
            by_a_person = _killed_by_a_person(self._ti, self._job_id)
        except Exception:
            self.log.exception("Airflow does not tell who stops this task; a fine-tuning job goes on")
            return
        if by_a_person:
            hook = FineTuningHook(conn_id=self.conn_id)
            with hook.conn:
                self._submission.abandon(hook)
        else:
            self.log.info("The worker is stopping, not the task; a fine-tuning job goes on")


def _killed_by_a_person(ti: Any, job_id: str | None) -> bool:
    """Return whether Airflow says that a person ended this running task, or deleted it.

    :param job_id: the job that this try has settled on.
    """
    if hasattr(ti, "get_task_states"):  # Airflow 3
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        state = next(iter(states.get(ti.run_id, {}).values()), "removed")
    else:
        state = ti.current_state()
    if str(getattr(state, "value", state)) not in _SET_BY_A_PERSON:
        return False
    # A worker that was given up and comes back finds the state in which its retry has ended. XComs are cleared when a
    # try starts, so a job id that this one has not pushed is a later try's.
    pushed = ti.xcom_pull(task_ids=ti.task_id, key="job_id", map_indexes=ti.map_index)
    return pushed is None or pushed == job_id


def _age(ti: Any) -> float:
    """Return for how many seconds the task has been running, by this machine's clock.

    A worker may stall before it comes to execute, and a later try be under way by then.
    """
    return 0.0 if ti.start_date is None else max(0.0, (datetime.now(tz=UTC) - ti.start_date).total_seconds())


class _JobGoalOperator(JobWaiting, BaseOperator):
    """Brings a job into a state, whoever gets it there; safe to repeat, and to lose an answer of."""

    template_fields: Sequence[str] = ("job_id", "conn_id")
    operator_extra_links = (FineTuningJobLink(),)
    ui_color = "#fff2cc"
    goal: ClassVar[Goal]

    def __init__(
        self,
        *,
        job_id: str,
        conn_id: str = "openai_default",
        deferrable: bool = True,
        poll_interval: float | timedelta = 10,
        timeout: float | timedelta = 60 * 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)

    def execute(self, context: Context) -> Any:
        """Ask for the state and wait until the job is in it; return the job id."""
        job_id = required("job_id", self.job_id)
        with self.client_closed():
            self.push_link(context, job_id)
            watch = self.watch(job_id, time.time() + self.timeout, until=self.awaited())
            self.hold_to_execution_timeout(context, watch)
            return self.wait(context, watch)

    def awaited(self) -> Collection[str]:
        """Return the statuses at which there is something to do."""
        return worth_waking(self.goal)

    def conclude(self, context: Context, watch: JobWatch, job: Job | None, decision: Decision) -> Any:
        """Take the next step towards the goal; return the job id once it is reached."""
        if job is None or decision.kind is Kind.TIMEOUT:
            raise FineTuningJobTimeout(decision.reason)
        if next_step(self.goal, job.status) is Step.ASK:
            job = self._ask(watch, job)
        step = next_step(self.goal, job.status)
        if step is Step.NEVER:
            raise RequestRefused(f"Cannot {self.goal} fine-tuning job {job.id}: it has already ended, as {job.status}.")
        if step is Step.THERE:
            return job.id
        so_far = f"Asked to {self.goal} fine-tuning job {job.id}, which is still {job.status}."
        if watch.end_time is not None and time.time() >= watch.end_time:
            raise FineTuningJobTimeout(f"{so_far} The time to wait for it is over.")
        raise NotYet(so_far)

    def _ask(self, watch: JobWatch, job: Job) -> Job:
        """Ask the endpoint, and return the job as it is then: its status tells what came of it, not the answer."""
        from airflow_provider_finetune.hooks.fine_tuning import explained

        refused: RequestRefused | None = None
        try:
            with explained(f"{self.goal} fine-tuning job {job.id}"):
                getattr(self.hook, f"{self.goal}_job")(job.id)
        except RequestRefused as error:
            refused = error
        except EndpointUnreachable as error:
            self.log.warning("%s Looking what came of it.", error)
        if self.goal == "cancel" and refused is None:
            watch.if_gone = "cancelled"  # there it was, and some endpoints forget a job that they have cancelled
        now, _ = watch.look()
        now = now or job
        if refused is not None and next_step(self.goal, now.status) is Step.ASK:
            raise refused
        return now


class PauseFineTuningJobOperator(_JobGoalOperator):
    """Pauses a job and waits until it is paused; it writes a checkpoint first.

    A job that is paused already is fine; one that is still queued is paused as soon as it runs. Returns the job id.

    :param job_id: the job (templated).
    :param conn_id: the Airflow connection, of type ``openai`` (templated).
    :param deferrable: wait in the triggerer, without holding a worker.
    :param poll_interval: seconds between two looks at the job.
    :param timeout: seconds to wait, an hour by default.
    :raises RequestRefused: the job has ended, is not known, or the endpoint cannot pause jobs.
    :raises FineTuningJobTimeout: the job did not get there in time.
    """

    goal = "pause"


class ResumeFineTuningJobOperator(_JobGoalOperator):
    """Resumes a paused job, which goes on from its checkpoint. A job that is not paused is fine. Returns the job id.

    Arguments and errors are those of :class:`PauseFineTuningJobOperator`.
    """

    goal = "resume"


class CancelFineTuningJobOperator(_JobGoalOperator):
    """Cancels a job. One that is cancelled already is fine; one that has succeeded or failed is an error.

    Returns the job id.

    Arguments and errors are those of :class:`PauseFineTuningJobOperator`.
    """

    goal = "cancel"
