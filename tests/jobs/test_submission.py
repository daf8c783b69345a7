"""Creating a job exactly once: what each answer leads to. The random schedules are in the simulation beside this."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_finetune.jobs.actions import Cancel, Create, Note, Recall, Remember, Retrieve, Search, Sleep
from airflow_provider_finetune.jobs.attempt import Attempt, SubmissionFault, Submitted
from airflow_provider_finetune.jobs.fault import Fault, FaultKind, read_fault
from airflow_provider_finetune.jobs.identity import FINGERPRINT_KEY, Marks
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.request import check_request
from airflow_provider_finetune.jobs.submission import MAX_TRIES, submit

if TYPE_CHECKING:
    from collections.abc import Iterable

LAG = 10.0
MARKS = Marks("submission", "fingerprint", "model", "file-1", seed=7, derived=True)
FIRST = Attempt(MARKS, first=True, started=0.0, list_lag=LAG)
RETRY = replace(FIRST, first=False)
RECORD = {"submission": "submission", "fingerprint": "fingerprint", "job_id": "ftjob-0"}


def job(number: int, status: str = "running", *, fingerprint: str = "fingerprint", **fields: object) -> Job:
    created = fields.pop("created_at", 1_000 + number)
    return Job(f"ftjob-{number}", status, created_at=created, metadata={FINGERPRINT_KEY: fingerprint}, **fields)


def fault(status: int | None, code: str | None = None, retry_after: str | None = None) -> Fault:
    return read_fault(status, {"error": {"message": "It said no.", "code": code}}, retry_after)


@dataclass
class Done:
    """A create that takes effect, whatever the answer: the job, or a fault."""

    answer: Fault | None = None


DONE, LOST = Done(), fault(None)


@dataclass
class Endpoint:
    """Carries out what the protocol asks for, on a clock of its own."""

    jobs: list[Job] = field(default_factory=list)
    creates: Iterable[Done | Fault] = (DONE,)
    searches: list[Fault] = field(default_factory=list)
    retrieve: Fault | None = None
    cancel: Fault | None = None
    record: dict[str, str] | None = None
    keeps_metadata: bool = True
    now: float = 0.0
    asked: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.creates = iter(self.creates)

    def submit(self, attempt: Attempt) -> Submitted:
        steps, answer = submit(attempt, lambda: self.now), None
        while True:
            try:
                action = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            self.asked.append(action)
            answer = self.carry_out(action)

    def carry_out(self, action: object) -> object:
        match action:
            case Recall():
                return self.record
            case Remember(record):
                self.record = record
            case Search():
                return self.searches.pop(0) if self.searches else self.jobs[::-1]
            case Retrieve(job_id):
                found = next((job for job in self.jobs if job.id == job_id), None)
                return self.retrieve or found or fault(404, "fine_tune_not_found")
            case Create():
                return self.create()
            case Cancel(job_id):
                if self.cancel:
                    return self.cancel
                self.jobs = [replace(job, status="cancelled") if job.id == job_id else job for job in self.jobs]
            case Sleep(seconds):
                self.now += seconds
        return None

    def create(self) -> Job | Fault:
        outcome = next(self.creates)
        if isinstance(outcome, Fault):
            return outcome
        created = job(len(self.jobs))
        if not self.keeps_metadata:
            created = replace(created, metadata=None)
        self.jobs.append(created)
        return outcome.answer or created

    def count(self, kind: type) -> int:
        return sum(isinstance(action, kind) for action in self.asked)

    @property
    def notes(self) -> str:
        return "\n".join(action.message for action in self.asked if isinstance(action, Note))

    @property
    def slept(self) -> list[float]:
        return [action.seconds for action in self.asked if isinstance(action, Sleep)]


# -- answers that certainly refuse


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "model_not_available"),
        (401, "invalid_api_key"),
        (403, "training_not_available"),
        (404, None),
        (422, None),
        (429, "insufficient_quota"),
    ],
)
def test_a_refusal_ends_the_attempt_with_no_second_create(status: int, code: str | None) -> None:
    endpoint = Endpoint(creates=[fault(status, code), DONE])
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(FIRST)
    assert endpoint.count(Create) == 1
    assert endpoint.slept == []
    assert not failed.value.unsettled
    assert failed.value.fault is not None
    assert failed.value.fault.kind is FaultKind.REFUSED


def test_a_rate_limit_waits_as_long_as_the_server_says_and_looks_again_before_it_creates() -> None:
    endpoint = Endpoint(creates=[fault(429, "rate_limit_exceeded", "7"), DONE])
    submitted = endpoint.submit(FIRST)
    assert submitted.created
    assert endpoint.slept == [7.0]
    kinds = [type(action) for action in endpoint.asked if isinstance(action, (Create, Search, Sleep))]
    assert kinds == [Search, Create, Sleep, Search, Create, Search]
    assert "Trying again in 7 s" in endpoint.notes


def test_a_rate_limit_without_a_time_backs_off_and_in_the_end_leaves_it_to_airflows_retry() -> None:
    endpoint = Endpoint(creates=[fault(429, "rate_limit_exceeded")] * 10)
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(FIRST)
    assert endpoint.count(Create) == MAX_TRIES
    assert endpoint.slept == [2.0, 4.0, 8.0]
    assert not failed.value.unsettled


def test_a_rate_limit_that_asks_for_more_patience_than_a_worker_has_is_left_to_airflows_retry() -> None:
    endpoint = Endpoint(creates=[fault(429, "daily_rate_limit_exceeded", "3600")])
    with pytest.raises(SubmissionFault):
        endpoint.submit(FIRST)
    assert endpoint.slept == []


# -- answers that leave it open


UNKNOWN = [fault(None), fault(408), fault(409), fault(500), fault(502), fault(503, retry_after="1")]


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda fault: str(fault.status))
def test_a_create_of_unknown_outcome_that_took_effect_is_found_and_not_repeated(answer: Fault) -> None:
    endpoint = Endpoint(creates=[Done(answer)])
    submitted = endpoint.submit(FIRST)
    assert submitted.job.id == "ftjob-0"
    assert endpoint.count(Create) == 1
    assert endpoint.record == RECORD
    assert "It may exist all the same; looking for it." in endpoint.notes


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda fault: str(fault.status))
def test_a_create_of_unknown_outcome_that_took_none_is_repeated_only_once_the_list_would_show_it(answer: Fault) -> None:
    endpoint = Endpoint(creates=[answer, DONE])
    submitted = endpoint.submit(FIRST)
    assert (submitted.job.id, submitted.created) == ("ftjob-0", True)
    assert endpoint.count(Create) == 2
    first, second = (n for n, action in enumerate(endpoint.asked) if isinstance(action, Create))
    between = endpoint.asked[first:second]
    assert sum(action.seconds for action in between if isinstance(action, Sleep)) >= LAG
    assert sum(isinstance(action, Search) for action in between) > 2


def test_creates_that_stay_unanswered_end_the_attempt_unsettled() -> None:
    endpoint = Endpoint(creates=[LOST] * 10)
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(FIRST)
    assert failed.value.unsettled
    assert endpoint.count(Create) == MAX_TRIES


def test_a_refusal_after_an_unanswered_create_is_still_a_refusal() -> None:
    endpoint = Endpoint(creates=[LOST, fault(403, "training_not_available")])
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(FIRST)
    assert failed.value.fault is not None
    assert failed.value.fault.code == "training_not_available"


# -- could not read is not absent


@pytest.mark.parametrize("answer", [fault(None), fault(500), fault(429, "rate_limit_exceeded")])
@pytest.mark.parametrize(("attempt", "unsettled"), [(FIRST, False), (RETRY, True)])
def test_nothing_is_created_when_the_list_cannot_be_read(answer: Fault, attempt: Attempt, unsettled: bool) -> None:
    endpoint = Endpoint(searches=[answer] * MAX_TRIES)
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(attempt)
    assert endpoint.count(Create) == 0
    assert endpoint.count(Search) == MAX_TRIES
    assert failed.value.unsettled is unsettled


def test_nothing_is_created_when_the_list_is_refused() -> None:
    endpoint = Endpoint(searches=[fault(401, "invalid_api_key")])
    with pytest.raises(SubmissionFault):
        endpoint.submit(FIRST)
    assert (endpoint.count(Search), endpoint.count(Create)) == (1, 0)


def test_a_list_that_can_be_read_again_is_enough() -> None:
    endpoint = Endpoint(searches=[fault(503), fault(None)])
    assert endpoint.submit(FIRST).created
    assert endpoint.slept[:2] == [2.0, 4.0]


def unreadable_after_the_create(creates: Iterable[Done | Fault], answer: Fault = LOST) -> Endpoint:
    endpoint = Endpoint(creates=creates)
    create = endpoint.create

    def create_and_go_silent() -> Job | Fault:
        endpoint.searches = [answer] * MAX_TRIES
        return create()

    endpoint.create = create_and_go_silent  # type: ignore[method-assign]
    return endpoint


@pytest.mark.parametrize("answer", [LOST, fault(401, "invalid_api_key")])
def test_an_ordinary_first_try_goes_on_with_the_job_it_has_created_even_if_its_look_afterwards_fails(
    answer: Fault,
) -> None:
    endpoint = unreadable_after_the_create([DONE], answer)
    assert endpoint.submit(FIRST) == Submitted(endpoint.jobs[0], created=True)
    assert endpoint.record == RECORD


def test_a_later_try_that_cannot_look_after_its_create_is_unsettled_and_creates_nothing_more() -> None:
    endpoint = unreadable_after_the_create([DONE])
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(RETRY)
    assert endpoint.count(Create) == 1
    assert failed.value.unsettled


def test_a_first_try_that_cannot_look_after_an_unanswered_create_is_unsettled() -> None:
    endpoint = unreadable_after_the_create([Done(LOST)])
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(FIRST)
    assert endpoint.count(Create) == 1
    assert failed.value.unsettled


def test_nothing_is_created_when_the_remembered_job_cannot_be_read() -> None:
    endpoint = Endpoint(jobs=[job(0)], record=RECORD, retrieve=fault(500))
    with pytest.raises(SubmissionFault):
        endpoint.submit(RETRY)
    assert (endpoint.count(Create), endpoint.count(Retrieve)) == (0, MAX_TRIES)


# -- a later attempt


@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "paused", "succeeded", "odd"])
@pytest.mark.parametrize("record", [None, RECORD])
def test_a_later_try_goes_on_with_the_job_of_the_earlier(status: str, record: dict[str, str] | None) -> None:
    endpoint = Endpoint(jobs=[job(0, status)], record=record)
    submitted = endpoint.submit(RETRY)
    assert (submitted.job.id, submitted.created) == ("ftjob-0", False)
    assert endpoint.count(Create) == 0
    assert endpoint.record == RECORD
    assert "Going on with fine-tuning job ftjob-0" in endpoint.notes


@pytest.mark.parametrize("status", ["failed", "cancelled"])
@pytest.mark.parametrize("record", [None, RECORD])
def test_a_later_try_creates_a_new_job_when_the_earlier_ended_badly(status: str, record: dict[str, str] | None) -> None:
    endpoint = Endpoint(jobs=[job(0, status, finished_at=1_000)], record=record)
    submitted = endpoint.submit(RETRY)
    assert (submitted.job.id, submitted.created) == ("ftjob-1", True)
    assert endpoint.jobs[0].status == status


def test_a_later_try_watches_the_list_for_as_long_as_it_may_lag_before_it_creates() -> None:
    endpoint = Endpoint()
    endpoint.submit(RETRY)
    before = endpoint.asked[: next(n for n, action in enumerate(endpoint.asked) if isinstance(action, Create))]
    assert sum(action.seconds for action in before if isinstance(action, Sleep)) >= LAG


@pytest.mark.parametrize("record", [None, RECORD | {"fingerprint": "another"}])
def test_a_changed_request_says_so_and_gets_a_job_of_its_own(record: dict[str, str] | None) -> None:
    endpoint = Endpoint(jobs=[job(0, fingerprint="another")], record=record)
    submitted = endpoint.submit(RETRY)
    assert (submitted.job.id, submitted.created) == ("ftjob-1", True)
    assert endpoint.notes.count("has changed since ftjob-0") == 1
    assert "left as it is" in endpoint.notes
    assert endpoint.jobs[0].status == "running"


@pytest.mark.parametrize("record", [None, RECORD | {"fingerprint": "another"}])
def test_a_changed_request_says_what_has_changed_by_name_and_no_value(record: dict[str, str] | None) -> None:
    request = check_request({"model": "model", "training_file": "file-1", "suffix": "s3cret"})
    earlier = job(0, fingerprint="another", training_file="file-0", suffix="hidden")
    endpoint = Endpoint(jobs=[earlier], record=record)
    endpoint.submit(replace(RETRY, request=request))
    assert "has changed since ftjob-0 was created for this task: it differs in training_file, suffix." in endpoint.notes
    assert "Cancel the older one" in endpoint.notes
    assert not any(value in endpoint.notes for value in ("s3cret", "hidden", "file-0", "file-1"))


def test_a_changed_request_says_so_even_if_the_earlier_job_cannot_be_read() -> None:
    endpoint = Endpoint(record=RECORD | {"fingerprint": "another"}, retrieve=fault(500))
    assert endpoint.submit(RETRY).created
    assert "the endpoint does not show in what" in endpoint.notes
    assert "Cancel the older one" not in endpoint.notes


def test_a_later_try_says_that_it_is_looking_and_how_to_have_a_new_job_instead() -> None:
    endpoint = Endpoint(jobs=[job(0)])
    endpoint.submit(RETRY)
    looking, going_on = (action.message for action in endpoint.asked if isinstance(action, Note))
    assert "looking for it for 10 s" in looking
    assert endpoint.asked.index(Note(looking)) < next(
        n for n, action in enumerate(endpoint.asked) if isinstance(action, Search)
    )
    assert going_on.endswith("\nFor a new job, set if_exists='new' and clear the task.")


def test_a_later_try_that_creates_says_why_it_goes_on_looking() -> None:
    endpoint = Endpoint()
    endpoint.submit(RETRY)
    assert "Created fine-tuning job ftjob-0; looking for 10 s whether another attempt" in endpoint.notes


def test_a_first_try_has_nothing_to_say_about_looking_nor_about_another_job() -> None:
    endpoint = Endpoint(creates=[Done(LOST)])
    endpoint.submit(FIRST)
    assert "Going on with fine-tuning job ftjob-0" in endpoint.notes
    assert "if_exists" not in endpoint.notes
    assert "earlier attempt" not in endpoint.notes


def test_a_record_of_another_submission_is_not_ours() -> None:
    endpoint = Endpoint(jobs=[], record=RECORD | {"submission": "another"})
    assert endpoint.submit(RETRY).created
    assert endpoint.count(Retrieve) == 0


def test_a_remembered_job_that_is_gone_is_replaced() -> None:
    endpoint = Endpoint(jobs=[], record=RECORD)
    assert endpoint.submit(RETRY).created


def test_a_remembered_job_is_taken_even_where_the_list_does_not_show_it() -> None:
    endpoint = Endpoint(jobs=[job(0)], record=RECORD, searches=[])
    hidden, endpoint.jobs = endpoint.jobs, []
    endpoint.carry_out = lambda action: (  # type: ignore[method-assign]
        hidden[0] if isinstance(action, Retrieve) else Endpoint.carry_out(endpoint, action)
    )
    submitted = endpoint.submit(RETRY)
    assert (submitted.job.id, submitted.created, endpoint.count(Create)) == ("ftjob-0", False, 0)


# -- if_exists


@pytest.mark.parametrize("status", ["running", "paused", "succeeded"])
def test_if_exists_fail_refuses_to_go_on_with_an_earlier_job_and_leaves_it_alone(status: str) -> None:
    endpoint = Endpoint(jobs=[job(0, status)])
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(replace(RETRY, if_exists="fail"))
    assert f"ftjob-0 ({status})" in failed.value.doing
    assert "if_exists='reuse'" in failed.value.doing
    assert (endpoint.count(Create), endpoint.count(Cancel)) == (0, 0)


def test_if_exists_fail_does_not_fail_on_the_job_whose_answer_this_very_try_has_lost() -> None:
    endpoint = Endpoint(creates=[Done(LOST)])
    assert endpoint.submit(replace(FIRST, if_exists="fail")).job.id == "ftjob-0"


def test_if_exists_fail_creates_where_there_is_nothing_or_only_a_dead_job() -> None:
    endpoint = Endpoint(jobs=[job(0, "failed", finished_at=1_000)])
    assert endpoint.submit(replace(RETRY, if_exists="fail")).created


# -- two at once


def test_all_take_the_oldest_of_two_live_jobs_and_the_other_is_cancelled() -> None:
    endpoint = Endpoint(jobs=[job(0), job(1)])
    assert endpoint.submit(RETRY).job.id == "ftjob-0"
    assert [job.status for job in endpoint.jobs] == ["running", "cancelled"]
    assert "Cancelling ftjob-1" in endpoint.notes


def test_a_double_that_cannot_be_cancelled_leaves_the_submission_unsettled() -> None:
    endpoint = Endpoint(jobs=[job(0), job(1)], cancel=fault(500))
    with pytest.raises(SubmissionFault) as failed:
        endpoint.submit(RETRY)
    assert failed.value.unsettled
    assert "ftjob-1" in failed.value.doing


def test_a_double_that_is_gone_already_is_no_trouble() -> None:
    endpoint = Endpoint(jobs=[job(0), job(1)], cancel=fault(404))
    assert endpoint.submit(RETRY).job.id == "ftjob-0"


def test_jobs_of_the_same_second_are_told_apart_by_the_order_of_the_list() -> None:
    endpoint = Endpoint(jobs=[job(0, created_at=1_000), job(1, created_at=1_000)])
    assert endpoint.submit(RETRY).job.id == "ftjob-0"


# -- endpoints that do not keep metadata


def test_an_endpoint_that_drops_the_metadata_is_warned_of_and_the_job_remembered() -> None:
    endpoint = Endpoint(keeps_metadata=False)
    submitted = endpoint.submit(FIRST)
    assert submitted.created
    assert "does not keep the metadata of ftjob-0" in endpoint.notes
    assert endpoint.record == RECORD
    assert endpoint.count(Create) == 1


# -- what servers say of the end of a job


@pytest.mark.parametrize("finished_at", [None, 1_003, 9_999_999, 1_003_000_000])
def test_a_job_that_follows_a_cancelled_one_is_gone_on_with_whenever_that_is_said_to_have_ended(
    finished_at: int | None,
) -> None:
    endpoint = Endpoint(jobs=[job(0, "cancelled", finished_at=finished_at), job(1)])
    assert endpoint.submit(RETRY) == Submitted(endpoint.jobs[1], created=False)
    assert (endpoint.count(Create), endpoint.count(Cancel)) == (0, 0)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_created_after_a_dead_one_was_seen_is_kept_whenever_that_is_said_to_have_ended(status: str) -> None:
    endpoint = Endpoint(jobs=[job(0, status, finished_at=9_999_999)])
    assert endpoint.submit(RETRY).created
    assert (endpoint.count(Create), endpoint.count(Cancel)) == (1, 0)


def test_a_job_that_is_being_cancelled_is_not_gone_on_with() -> None:
    endpoint = Endpoint(jobs=[job(0, "cancelling")])
    assert endpoint.submit(RETRY).created
    assert endpoint.count(Cancel) == 0


def test_a_double_that_the_endpoint_does_not_know_yet_is_cancelled_a_little_later() -> None:
    endpoint = Endpoint(jobs=[job(0), job(1)])
    answers = iter([fault(404), None])
    cancel = endpoint.carry_out

    def carry_out(action: object) -> object:
        endpoint.cancel = next(answers) if isinstance(action, Cancel) else None
        return cancel(action)

    endpoint.carry_out = carry_out  # type: ignore[method-assign]
    endpoint.submit(RETRY)
    assert [one.status for one in endpoint.jobs] == ["running", "cancelled"]


# -- a stranger's job with our metadata

STRANGE = job(0, model="other-model", training_file="file-2")


def test_a_retry_neither_takes_nor_cancels_a_strangers_job_with_our_metadata_and_creates_none_beside_it() -> None:
    endpoint = Endpoint([STRANGE])
    with pytest.raises(
        SubmissionFault, match=r"trains other-model on file-2, where model on file-1 was asked for"
    ) as e:
        endpoint.submit(RETRY)
    assert "existing_job_id='ftjob-0'" in str(e.value)
    assert (endpoint.count(Create), endpoint.count(Cancel)) == (0, 0)


def test_a_strangers_job_that_the_user_names_as_foreign_holds_up_nothing() -> None:
    endpoint = Endpoint([STRANGE])
    submitted = endpoint.submit(replace(RETRY, foreign_job_ids=("ftjob-0",)))
    assert (submitted.job.id, submitted.created) == ("ftjob-1", True)
    assert endpoint.count(Cancel) == 0


def test_a_strangers_job_that_was_there_before_the_first_try_holds_up_nothing() -> None:
    endpoint = Endpoint([STRANGE])
    assert endpoint.submit(FIRST).job.id == "ftjob-1"
    assert endpoint.count(Cancel) == 0
