"""The page "Training" in a real Chromium, before a server that answers as Airflow's REST API does."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.jobs.events import Event
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.progress import JobProgress
from tests.ui.answers import Answers, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Opened = Callable[..., Page]

HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
HOSTILE_LINK = "javascript:document.title='owned'"

# Playwright keeps an event loop in its thread, which Airflow's dag.test() of other tests cannot stand.
pytestmark = pytest.mark.system


def shown(status: str = "running", steps: int = 40, total: int = 100, **job: Any) -> JobProgress:
    """What a task shows of a job that has done so many steps."""
    progress = JobProgress()
    now = int(time.time())
    progress.saw_job(
        Job.from_api({"id": "ftjob-1", "status": status, "model": "gpt-4.1-mini", "created_at": now - 900, **job})
    )
    progress.saw_events(step_event(step, total, now - steps + step) for step in range(1, steps + 1))
    return progress


def step_event(step: int, total: int, at: int) -> Event:
    data = {
        "step": step, "total_steps": total, "train_loss": 2 / step, "valid_loss": 2.2 / step,
        "train_mean_token_accuracy": 1 - 1 / (step + 1),
    }  # fmt: skip
    return Event(f"e{step}", at, 20, f"Step {step}/{total}", data)


def said(message: str, level: int = 20, at: int = 1_790_000_000) -> Event:
    return Event(f"said-{at}-{level}", at, level, message)


def evaluated(model: str, score: float, **more: Any) -> dict[str, Any]:
    """What an evaluation returns of a model."""
    return {
        "model": model, "conn_id": "openai_default", "job_id": "ftjob-1", "base_model": None, "step": None,
        "examples": 40, "errors": 0, "empty": 1, "ungraded": 0, "score": score, "score_low": score - 0.1,
        "score_high": score + 0.1, "prompt_tokens": 900, "completion_tokens": 90, "latency_p50": 0.21,
        "latency_p95": 0.4, "cost": None, **more,
    }  # fmt: skip


def evaluation(model: str = "ft:new", baseline: str = "ft:old", **more: Any) -> dict[str, Any]:
    """What an evaluation of a model against a baseline returns."""
    return {
        "dataset": {"source": "evaluation.jsonl", "sha256": "0" * 64, "examples": 40, "duplicates": 0},
        "grader": {"type": "string_check", "name": "same section", "sha256": "0" * 64},
        "answers": "s3://bucket/answers.jsonl", "report": "s3://bucket/answers.html",
        "models": [evaluated(model, 0.83), evaluated(baseline, 0.61)],
        "baseline": baseline, "best": model, "confidence": 0.95,
        "comparisons": [{
            "model": model, "baseline": baseline, "examples": 40, "wins": 11, "losses": 2, "ties": 27,
            "difference": 0.225, "difference_low": 0.05, "difference_high": 0.38, "p_value": 0.0225, "test": "binomial",
            "differ_most": [{"line": 17, "grade": 1.0, "baseline_grade": 0.0}],
        }],
        **more,
    }  # fmt: skip


def asked(step: int, total: int = 80) -> dict[str, Any]:
    """The progress of an evaluation."""
    status = "succeeded" if step == total else "running"
    return {"status": status, "step": step, "total_steps": total, "asked": step, "errors": 0, "spent": 0.0}


def decision(outcome: str = "kept", model: str = "ft:old", **more: Any) -> dict[str, Any]:
    """What a task that promotes a model returns."""
    return {
        "name": "support-bot", "outcome": outcome, "promoted": outcome == "promoted", "candidate": "ft:new",
        "champion": {"model": model, "conn_id": "openai_default"}, "before": model, "numbers": {"score": 0.8},
        "reason": "ft:old stays the champion of support-bot: ft:new is 0.1 worse than ft:old.", **more,
    }  # fmt: skip


def records(*models: str) -> list[dict[str, Any]]:
    """The history of a champion, newest first."""
    return [
        {
            "number": number, "model": model, "scores": {"score": 0.5}, "promoted_by": "ann",
            "promoted_at": "2026-11-25T10:00:00.000+00:00",
        }
        for number, model in zip(range(len(models), 0, -1), models, strict=True)
    ]  # fmt: skip


def curves(page: Page) -> list[int]:
    """The number of points of each line that is drawn."""
    paths = page.locator("path.ft-line").evaluate_all("all => all.map(one => one.getAttribute('d'))")
    return [len(re.findall("[ML]", path)) for path in paths]


@pytest.mark.parametrize(("status", "word"), [(401, "session is over"), (403, "may not see")])
def test_a_person_without_rights_is_told_so_and_sees_nothing(
    answers: Answers, opened: Opened, status: int, word: str
) -> None:
    answers.task()
    answers.set(**shown().xcoms())
    answers.status = status
    page = opened(answers.page())
    page.get_by_text(word).wait_for()
    assert page.locator(".ft-chart").count() == 0
    answers.status = 200
    page.get_by_role("button", name="Try again").click()
    page.locator(".ft-chart").first.wait_for()


def test_a_job_of_another_method_shows_that_and_its_hyperparameters(answers: Answers, opened: Opened) -> None:
    answers.task("success")
    answers.set(**shown("succeeded", method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}).xcoms())
    page = opened(answers.page())
    page.get_by_text("dpo", exact=True).wait_for()
    assert page.locator(".ft-parameters").inner_text() == "beta 0.2"


def test_hostile_texts_are_shown_and_do_nothing(answers: Answers, opened: Opened) -> None:
    progress = shown(
        "failed", model=HOSTILE, fine_tuned_model=HOSTILE, hyperparameters={HOSTILE: HOSTILE},
        error={"code": HOSTILE, "message": HOSTILE},
    )  # fmt: skip
    progress.saw_events([said(HOSTILE), said(f"[click]({HOSTILE_LINK})", 40)])
    answers.task("failed")
    checkpoints = [{"step": 10, "model": HOSTILE, "id": HOSTILE, HOSTILE: 1.0, "valid_loss": 0.1}]
    answers.set(**progress.xcoms(), job_link=HOSTILE_LINK, checkpoints=checkpoints, best_checkpoint=checkpoints[0])
    page = opened(answers.page(task="wait"))
    page.locator(".ft-events").wait_for()
    assert HOSTILE in page.locator(".ft-events").inner_text()
    assert page.locator("img, .ft script, a[href^=javascript]").count() == 0
    assert page.title() == "wait - train"


def test_hostile_texts_of_an_evaluation_are_shown_and_do_nothing(answers: Answers, opened: Opened) -> None:
    result = evaluation(HOSTILE, HOSTILE, report=HOSTILE, grader={"type": HOSTILE, "name": HOSTILE})
    answers.task("success", "EvaluateModelOperator")
    answers.set(progress=asked(80), return_value=result)
    page = opened(answers.page())
    page.locator(".ft-interval").first.wait_for()
    assert page.locator("tbody th code").first.inner_text() == HOSTILE
    assert page.locator("img, .ft script, a[href^=javascript]").count() == 0
    assert page.title() == "wait - train"


def test_a_promotion_shows_its_decision_and_the_history(answers: Answers, opened: Opened) -> None:
    answers.task("skipped", "PromoteModelOperator")
    answers.set(return_value=decision(), history=records("ft:old", "ft:older"))
    page = opened(answers.page())
    page.get_by_text("not promoted").wait_for()
    assert page.get_by_text("ft:new is 0.1 worse than ft:old").is_visible()
    rows = page.get_by_role("region", name="History").locator("tbody tr")
    assert [row.locator("code").inner_text() for row in rows.all()] == ["ft:old", "ft:older"]
    assert "ann" in rows.first.inner_text()


@pytest.mark.parametrize("outcome", [None, 3, HOSTILE])
def test_a_decision_that_is_none_or_hostile_breaks_nothing(answers: Answers, opened: Opened, outcome: Any) -> None:
    answers.task("success", "RollbackModelOperator")
    answers.set(return_value=decision(outcome, HOSTILE, reason=HOSTILE), history=[None, {}, *records(HOSTILE)])
    page = opened(answers.page())
    page.get_by_role("region", name="History").wait_for()
    assert page.locator("img, .ft script, a[href^=javascript]").count() == 0
    assert page.title() == "wait - train"


@pytest.mark.parametrize(
    "result",
    [None, 7, "s3://bucket/xcom", {"models": None}, {"models": [None, {}]}, {"models": [], "comparisons": [{}]}],
)
def test_an_evaluation_that_returned_something_else_breaks_nothing(
    answers: Answers, opened: Opened, result: object
) -> None:
    answers.task("success", "EvaluateModelOperator")
    answers.set(progress=asked(80), return_value=result)
    opened(answers.page()).get_by_text("80 of 80").wait_for()


def test_an_evaluation_is_live_and_shows_scores_and_comparison_at_its_end(answers: Answers, opened: Opened) -> None:
    answers.task("running", "EvaluateModelOperator")
    answers.set(progress=asked(20))
    page = opened(answers.page())
    page.get_by_text("20 of 80").wait_for()
    assert page.get_by_role("progressbar").get_attribute("aria-valuenow") == "25"
    answers.set(progress=asked(80), return_value=evaluation())
    answers.task("success", "EvaluateModelOperator")
    page.get_by_role("region", name="Scores").wait_for(timeout=15_000)
    best = page.locator("tr.ft-best")
    assert best.locator("code").inner_text() == "ft:new"
    assert re.search("0.73 . 0.93", best.inner_text())
    compared = page.get_by_role("region", name="Compared with ft:old").locator("tbody tr").inner_text().split("\t")
    assert [cell.strip() for cell in compared[1:5]] == ["11", "2", "27", "0.225"]
    assert page.get_by_role("region", name="Where ft:new differs most").locator("tbody").inner_text().split() == [
        "17", "1", "0",
    ]  # fmt: skip
    assert page.get_by_text("s3://bucket/answers.html").is_visible()


def test_new_steps_appear_without_reloading_and_only_what_changed_is_fetched(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown(steps=20).xcoms(), checkpoints=[])
    page = opened(answers.page())
    page.get_by_text("Live", exact=False).first.wait_for()
    assert curves(page)[0] == 20
    answers.requests.clear()
    later = shown(steps=30).xcoms()
    answers.set(metrics=later["metrics"], progress=later["progress"])
    page.get_by_text("/ 100").wait_for()
    page.locator(".ft-tiles dd").first.get_by_text("30").wait_for(timeout=15_000)
    assert curves(page)[0] == 30
    fetched = {path.rpartition("/")[2] for path in answers.requests if "/xcomEntries/" in path}
    assert fetched == {"metrics", "progress"}


def test_a_page_that_nobody_sees_asks_for_nothing(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown().xcoms())
    page = opened(answers.page())
    page.locator(".ft-chart").first.wait_for()
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    answers.requests.clear()
    page.wait_for_timeout(6000)
    assert answers.requests == []
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.wait_for_timeout(500)
    assert answers.requests


def test_the_curves_are_what_the_emulator_trained(
    emulator: Any, training_file: str, answers: Answers, opened: Opened
) -> None:
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.hooks.watch import JobWatch

    emulator.set(job_seconds=0.5)
    hook = FineTuningHook()
    job = hook.create_job(model="gpt-4.1-mini", training_file=training_file)
    watch = JobWatch(hook, job.id, logging.getLogger(__name__), end_time=None)
    deadline = time.monotonic() + 30
    while (now := watch.look()[0]) is None or now.status != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    hook.conn.close()
    xcoms = watch.progress.known.xcoms()
    answers.task("success")
    answers.set(**xcoms)
    page = opened(answers.page())
    page.locator(".ft-chart").first.wait_for()
    losses = [value for value in xcoms["metrics"]["train_loss"] if value is not None]
    assert len(losses) > 2
    assert len(losses) in curves(page)
    label = page.locator("svg.ft-chart").first.get_attribute("aria-label")
    assert label is not None
    assert f"{min(losses):.4g}"[:5] in label


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
def test_it_is_accessible_in_every_theme_and_width(answers: Answers, opened: Opened, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    progress = shown()
    progress.saw_events([said("Checkpoint created at step 20"), said("Slow down", 30), said("It broke", 40)])
    answers.task()
    answers.set(**progress.xcoms(), job_link="https://vendor.example/ftjob-1")
    page = opened(answers.page(), storage={"theme": theme}, viewport={"width": width, "height": 900})
    page.locator(".ft-chart").first.wait_for()
    assert page.evaluate("document.documentElement.classList.contains('dark')") == (theme == "dark")
    # Axe is a script from elsewhere, which the page's own policy rightly refuses; the driver runs it all the same.
    look = axe.Axe().run
    assert violations(look(page)) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"

    answers.task("success", "EvaluateModelOperator")
    answers.set(progress=asked(80), return_value=evaluation())
    page.reload()
    page.locator(".ft-interval").first.wait_for()
    assert violations(look(page)) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"

    answers.task("success", "PromoteModelOperator")
    answers.set(return_value=decision(), history=records("ft:old", "ft:older"))
    page.reload()
    page.get_by_text("not promoted").wait_for()
    assert violations(look(page)) == []


def violations(found: Any) -> list[Any]:
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found.response["violations"]]


def test_the_keyboard_reads_the_values_of_a_step(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown().xcoms())
    page = opened(answers.page())
    cursor = page.get_by_role("slider", name="Loss: step to read")
    cursor.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert "Step 37" in (cursor.get_attribute("aria-valuetext") or "")


def test_korean_where_the_ui_is_in_korean(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown().xcoms())
    page = opened(answers.page(), storage={"i18nextLng": "ko"})
    page.get_by_text("진행 중").first.wait_for()
    assert page.locator(".ft").get_attribute("lang") == "ko"
    assert page.get_by_text("손실", exact=True).count() >= 1


def test_a_mapped_task_shows_its_own_job(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown().xcoms())
    page = opened(answers.page(map="7"))
    page.locator(".ft-chart").first.wait_for()
    assert any(path.endswith("/taskInstances/wait/7") for path in answers.requests)


def test_it_works_below_a_path(opened: Opened) -> None:
    with serving(Answers(below="/airflow")) as answers:
        answers.task()
        answers.set(**shown().xcoms())
        opened(answers.page()).locator(".ft-chart").first.wait_for()
        assert all(path.startswith("/airflow/") for path in answers.requests)


def test_a_retry_starts_anew(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.set(**shown(steps=20).xcoms())
    page = opened(answers.page())
    page.locator(".ft-chart").first.wait_for()
    answers.clear()
    answers.task("running", try_number=2)
    page.get_by_text("Nothing to show yet").wait_for(timeout=15_000)
    answers.set(**shown(steps=3).xcoms())
    page.get_by_text("attempt 2").wait_for(timeout=15_000)
    assert curves(page)[0] == 3


def test_values_in_object_storage_are_said_to_be_there(answers: Answers, opened: Opened) -> None:
    answers.task("success")
    xcoms = shown("succeeded", 100).xcoms()
    answers.set(progress=xcoms["progress"], events=xcoms["events"], metrics="s3://bucket/xcom/metrics.json")
    page = opened(answers.page())
    page.get_by_text("kept in object storage").wait_for()
    assert page.get_by_text("succeeded").first.is_visible()


def test_a_hundred_thousand_steps_are_thinned_and_drawn(answers: Answers, opened: Opened) -> None:
    progress = shown("succeeded", 100_000, 100_000)
    answers.task("success")
    answers.set(**progress.xcoms())
    page = opened(answers.page())
    page.locator(".ft-chart").first.wait_for()
    assert 100 < max(curves(page)) <= 500
    assert page.get_by_text("100,000").first.is_visible()


def test_before_airflow_3_3_it_says_that_it_fills_at_the_end(answers: Answers, opened: Opened) -> None:
    answers.task()
    answers.version = "3.1.8"
    answers.set(**shown(steps=0).xcoms())
    opened(answers.page()).get_by_text("On Airflow 3.1.8 the curves fill in when the job ends").wait_for()


def test_on_the_task_of_others_it_is_one_quiet_line(answers: Answers, opened: Opened) -> None:
    answers.task("success", operator="BashOperator")
    page = opened(answers.page())
    page.get_by_text("This is not a fine-tuning task").wait_for()
    assert page.locator(".ft").inner_text().count("\n") == 0
