"""What a clean-up plans to delete, and what it never touches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.identity import Submission
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.status import TERMINAL
from airflow_provider_finetune.models.clean_up import DAY, KINDS, File, InUse, Item, Rule, plan
from airflow_provider_finetune.models.history import Champion, History

NOW = 1000 * DAY
RULE = Rule(frozenset({"retrain"}), keep=0)
HASH = "0123456789abcdef"


def job(
    number: int, *, dag: str | None = "retrain", status: str = "succeeded", days: float = 30, **more: object
) -> Job:
    """A job that ended some days ago, with a model, a result file and a training file of its own."""
    made = Job(
        f"ftjob-{number}",
        status,
        model="base",
        fine_tuned_model=f"ft:{number}",
        created_at=int(NOW - days * DAY),
        finished_at=int(NOW - days * DAY),
        result_files=(f"result-{number}",),
        training_file=f"train-{number}",
        metadata=Submission(dag, "run", "create").metadata("abc") if dag else None,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def files(*jobs: Job, days: float = 30) -> list[File]:
    """The files of jobs, uploaded by this provider."""
    return [
        File(file, f"train-{HASH}.jsonl", NOW - days * DAY)
        for job in jobs
        for file in (*job.datasets, *job.result_files)
    ]


def planned(*jobs: Job, rule: Rule = RULE, in_use: InUse | None = None, **checkpoints: list[str]) -> set[str]:
    """The names and ids of all that is to be deleted."""
    made = {f"ftjob-{number.removeprefix('of_')}": names for number, names in checkpoints.items()}
    return {item.id for item in plan(jobs, made, files(*jobs), rule, in_use or InUse(), NOW).items}


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (job(1, dag=None), "forgets metadata"),
        (job(1, dag="another"), "another DAG"),
        (job(1, metadata={"airflow_dag_id": "retrain"}), "not made by this provider"),
        (job(1, status="running", finished_at=None), "has not ended"),
        (job(1, status="a status of tomorrow"), "has not ended"),
        (job(1, days=6.9), "too short a time ago"),
        (job(1, finished_at=None, created_at=None), "too short a time ago"),
    ],
)
def test_a_job_stays_whole(kept: Job, why: str) -> None:
    found = plan([kept], {"ftjob-1": ["ft:1:ckpt"]}, files(kept), RULE, InUse(), NOW)
    assert not found.items
    assert why in found.stays["ftjob-1"]


def test_the_newest_succeeded_jobs_of_each_task_stay() -> None:
    weekly = [job(n, days=100 - 10 * n) for n in range(1, 6)]
    failed = job(6, status="failed", days=30, fine_tuned_model=None)
    other_task = job(7, days=90, metadata=Submission("retrain", "run", "another").metadata("abc"))
    deleted = planned(*weekly, failed, other_task, rule=replace(RULE, keep=2))
    assert deleted == {"ft:1", "ft:2", "ft:3"} | {f"{kind}-{n}" for n in (1, 2, 3, 6) for kind in ("train", "result")}


def test_a_champion_and_its_predecessors_stay_with_their_jobs() -> None:
    history = History("bot")
    for number in (1, 2, 3):
        history = history.followed_by(Champion(number=0, model=f"ft:{number}", conn_id="c", job_id=f"ftjob-{number}"))
    history = history.followed_by(Champion(number=0, model="ft:2", conn_id="c", restores=2))
    jobs = [job(n) for n in (0, 1, 2, 3)]
    assert planned(*jobs, in_use=InUse.by([history])) == {"ft:0", "train-0", "result-0"}, "1 is what came before 2"


def test_a_job_whose_checkpoint_is_the_champion_stays() -> None:
    assert not planned(job(1), in_use=InUse(frozenset({"ft:1:ckpt"})), of_1=["ft:1:ckpt", "ft:1:ckpt2"])


def test_what_a_job_that_stays_was_made_from_stays_too() -> None:
    first, second = job(1), job(2, model="ft:1:ckpt")
    living = job(3, model="ft:2", status="running", dag="another", training_file="train-4")
    fourth = job(4)
    assert planned(first, second, living, fourth, of_1=["ft:1:ckpt"]) == {"ft:4", "result-4"}
    assert planned(first, second, of_1=["ft:1:ckpt"]) >= {"ft:1", "ft:1:ckpt", "ft:2"}, "and goes with it"


def test_a_base_model_is_never_deleted() -> None:
    assert "base" not in planned(job(1, fine_tuned_model="base"))


def test_only_training_files_that_this_provider_uploaded_are_deleted() -> None:
    ended = job(1, validation_file="valid-1")
    there = [
        File("train-1", "train.jsonl", NOW - 30 * DAY),
        File("valid-1", f"valid-{HASH}.jsonl", NOW - 30 * DAY),
        File("result-1", "step_metrics.csv", NOW - 30 * DAY),
        File("stranger", "results.csv", NOW - 30 * DAY),
    ]
    found = plan([ended], {}, there, replace(RULE, unused_files=True), InUse(), NOW)
    assert [item.id for item in found.items] == ["ft:1", "result-1", "valid-1"]


def test_unused_files_go_when_they_are_asked_for_and_old() -> None:
    there = [File("old", f"a-{HASH}.jsonl", NOW - 8 * DAY), File("new", f"a-{HASH}.jsonl", NOW - 6 * DAY)]
    assert not plan([], {}, there, RULE, InUse(), NOW).items
    assert plan([], {}, there, replace(RULE, unused_files=True), InUse(), NOW).items == (Item("training_file", "old"),)


def test_a_plan_tells_how_much_and_why() -> None:
    found = plan([job(1), job(2, days=1)], {}, files(job(1)), RULE, InUse(), NOW)
    assert found.as_json() == {
        "to_delete": {"model": 1, "checkpoint": 0, "result_file": 1, "training_file": 1},
        "jobs_that_stay": {"ended too short a time ago": 1},
    }
    assert found.without({"ft:1"}).as_json()["to_delete"]["model"] == 0


names = st.sampled_from([f"m{n}" for n in range(5)])
file_ids = st.sampled_from([f"file-{n}" for n in range(5)])
jobs_of = st.builds(
    job,
    st.integers(0, 9),
    dag=st.sampled_from(["retrain", "another", None]),
    status=st.sampled_from([*TERMINAL, "running", "unheard_of"]),
    days=st.sampled_from([1.0, 8.0, 20.0, 30.0]),
    model=names,
    fine_tuned_model=st.none() | names,
    training_file=file_ids,
    validation_file=st.none() | file_ids,
    result_files=st.lists(file_ids, max_size=1).map(tuple),
)
worlds = st.fixed_dictionaries(
    {
        "jobs": st.lists(jobs_of, max_size=8, unique_by=lambda made: made.id),
        "checkpoints": st.dictionaries(st.integers(0, 9).map("ftjob-{}".format), st.lists(names, max_size=2)),
        "files": st.lists(
            st.builds(File, file_ids, st.sampled_from([f"a-{HASH}.jsonl", "a.csv"]), st.sampled_from([None, 0.0, NOW])),
            unique_by=lambda file: file.id,
        ),
        "rule": st.builds(
            Rule,
            st.just(frozenset({"retrain"})),
            keep=st.integers(0, 3),
            kinds=st.frozensets(st.sampled_from(KINDS)),
            unused_files=st.booleans(),
        ),
        "in_use": st.builds(
            InUse, st.frozensets(names, max_size=2), st.frozensets(st.sampled_from(["ftjob-1", "ftjob-2"]))
        ),
    }
)


@settings(max_examples=200, deadline=None)
@given(worlds, st.randoms())
def test_nothing_that_anybody_needs_is_ever_planned(world: dict, random: object) -> None:
    jobs, checkpoints, rule, in_use = world["jobs"], world["checkpoints"], world["rule"], world["in_use"]
    found = plan(**world, now=NOW)
    deleted = {item.id for item in found.items}

    def models(made: Job) -> set[str]:
        return {name for name in (made.fine_tuned_model, *checkpoints.get(made.id, ())) if name}

    staying = [made for made in jobs if made.id in found.stays]
    going = [made for made in jobs if made.id not in found.stays]
    for made in staying:
        assert not deleted & {made.model, *models(made), *made.datasets, *made.result_files}
    for made in going:
        assert made.status in TERMINAL
        assert (made.metadata or {}).get("airflow_dag_id") == "retrain"
        assert made.id not in in_use.job_ids
        assert made.finished_at is not None
        assert NOW - made.finished_at >= rule.min_age
    assert not deleted & in_use.models
    ours = [m for m in jobs if m.status == "succeeded" and (m.metadata or {}).get("airflow_dag_id") == "retrain"]
    assert len([made for made in ours if made.id in found.stays]) >= min(rule.keep, len(ours))
    assert {item.kind for item in found.items} <= rule.kinds
    assert len(deleted) == len(found.items), "each once"
    for item in found.items:
        assert item.job_id in {made.id for made in going} or (rule.unused_files and item.job_id is None)
    random.shuffle(jobs)
    random.shuffle(world["files"])
    assert {item.id for item in plan(**world, now=NOW).items} == deleted, "in whatever order"


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_who_carries_out_a_plan_has_nothing_left_to_plan(world: dict) -> None:
    first = plan(**world, now=NOW)
    gone = {item.id for item in first.items}
    world["files"] = [file for file in world["files"] if file.id not in gone]
    assert not plan(**world, now=NOW).without(gone).items


@settings(max_examples=100, deadline=None)
@given(worlds, names, st.sampled_from(["ftjob-1", "ftjob-5"]))
def test_who_protects_more_deletes_no_more(world: dict, model: str, job_id: str) -> None:
    before = {item.id for item in plan(**world, now=NOW).items}
    in_use = world.pop("in_use")
    more = InUse(in_use.models | {model}, in_use.job_ids | {job_id})
    assert {item.id for item in plan(**world, in_use=more, now=NOW).items} <= before
