"""How far a job is: one thing that decides it, for trigger and worker, bounded and without keys."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_finetune.jobs.events import Event
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.progress import EVERY_SECONDS, MOST_EVENTS, JobProgress

JOB = Job("ftjob-1", "running", model="base", created_at=1000)
KEY = "sk-" + "a1" * 20


def step(n: int, **data: Any) -> Event:
    return Event(f"e{n}", 1000 + n, 20, f"Step {n}", {"step": n, "total_steps": 100, "train_loss": 1 / n, **data})


def said(message: str, at: int = 1000, level: int = 20) -> Event:
    return Event(f"m{at}", at, level, message)


def of(*events: Event, job: Job = JOB) -> JobProgress:
    progress = JobProgress()
    progress.saw_job(job)
    progress.saw_events(events)
    return progress


def test_a_trigger_and_the_worker_behind_it_show_together_what_one_alone_would() -> None:
    events = [said("Job started"), *map(step, range(1, 21)), said("Slow down", 1015, 30)]
    alone = of(*events)
    trigger = of(*events[:9])
    worker = JobProgress()
    worker.recall(json.loads(json.dumps(trigger.xcoms())))
    worker.saw_job(JOB)
    worker.saw_events(events[9:])
    assert worker.xcoms() == alone.xcoms()


def test_of_steps_in_one_second_the_last_one_is_shown_though_an_earlier_one_is_recalled() -> None:
    at_once = [Event(f"e{n}", 1001, 20, f"Step {n}", {"step": n, "total_steps": 9, "train_loss": 1.0}) for n in (1, 9)]
    shown, progress = of(at_once[0]).xcoms(), of(at_once[1])
    progress.recall(shown)
    assert (progress.progress()["step"], progress.progress()["last_event_id"]) == (9, "e9")


def test_events_that_come_again_change_nothing() -> None:
    events = [said("Job started"), *map(step, range(1, 21))]
    assert of(*events, *events[5:]).xcoms() == of(*events).xcoms()


def test_another_jobs_xcoms_are_not_taken_up() -> None:
    other = of(step(5), job=Job("ftjob-2", "succeeded"))
    progress = of(step(1))
    before = progress.xcoms()
    progress.recall(other.xcoms())
    assert progress.xcoms() == before


def test_events_are_the_last_fifty_without_steps_and_hyperparameters_hold_no_keys() -> None:
    progress = of(*(said(f"line {n}", 1000 + n) for n in range(200)), step(300))
    assert len(progress.events) == MOST_EVENTS
    assert progress.events[-1]["message"].startswith("line 199")
    hyperparameters = {"n_epochs": 3, KEY: "x", "note": KEY}
    progress.saw_job(Job("ftjob-1", "running", hyperparameters=hyperparameters))
    assert KEY not in json.dumps(progress.xcoms()["progress"])


def test_hyperparameters_are_found_in_the_method_where_the_job_shows_them_nowhere_else() -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.1}}}
    shown = of(job=Job("ftjob-1", "running", method=method)).progress()
    assert (shown["method"], shown["hyperparameters"]) == ("dpo", {"n_epochs": 2, "beta": 0.1})


def test_only_what_changed_is_news_and_the_next_is_due_half_a_minute_later() -> None:
    progress = of(step(1), said("Job started"))
    assert list(progress.news(100.0)) == ["metrics", "events", "progress"]
    assert progress.next_at == 100.0 + EVERY_SECONDS
    assert not progress.changed
    progress.saw_events([step(2)])
    assert list(progress.news(130.0)) == ["metrics", "progress"]


def test_the_expected_end_follows_from_the_steps_where_the_endpoint_tells_none() -> None:
    assert of(step(10), step(20)).progress()["estimated_finish"] == 1100
    assert of(step(10), step(20), job=Job("ftjob-1", "running", estimated_finish=7)).progress()["estimated_finish"] == 7
