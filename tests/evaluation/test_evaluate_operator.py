"""Evaluating models: the real operator and SDK against an endpoint on loopback."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_finetune.exceptions import (
    DatasetError,
    EndpointUnreachable,
    EvaluationError,
    InvalidRequest,
    RequestRefused,
)
from airflow_provider_finetune.operators.model import EvaluateModelOperator
from tests.evaluation.conftest import EQUAL, SECRET, chat, evaluate, write

if TYPE_CHECKING:
    from airflow_provider_finetune.emulator import Emulator
    from tests.evaluation.conftest import Endpoint

OUTCOME = {
    "job_id": "ftjob-1",
    "model": "base",
    "fine_tuned_model": "ft:final",
    "checkpoints": [{"step": 10, "model": "ft:step10"}, {"step": 20, "model": "ft:final"}],
}
BUSY = (429, {"retry-after": "0.3"}, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})


def refusal(code: str, status: int = 400) -> Any:
    return status, {}, {"error": {"message": "no", "code": code}}


def good_at(*models: str) -> Any:
    """Models that are right; others say nothing that is."""
    return lambda body: body["messages"][-1]["content"] if body["model"] in models else "wrong"


# -- what goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grader": {"type": "exact"}}, "grader is of type 'exact'"),
        ({"grader": {"type": "python", "source": "def grade(sample, item): return 1"}}, "allow_python=True"),
        ({"max_examples": 0}, "max_examples is 0"),
        ({"temperature": 3}, "temperature is 3"),
        ({"max_cost": 1}, "without prices and max_tokens"),
        ({"confidence": 95}, "confidence is 95"),
    ],
)
def test_a_bad_literal_fails_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        EvaluateModelOperator(task_id="evaluate", **{"models": "m", "dataset": "d", "grader": EQUAL, **arguments})


def test_a_line_that_never_ends_is_not_read_to_its_end(
    dataset: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_finetune.hooks.examples._MOST_LINE_BYTES", 50)
    with pytest.raises(DatasetError, match="line 1 has more than 50 bytes"):
        evaluate(dataset=dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": None}, "gave nothing"),
        ({"models": "None"}, "gave nothing"),
        ({"models": [3]}, "expected a name"),
        ({"dataset": ""}, "dataset is ''"),
        ({"grader": {**EQUAL, "input": "{{sample.text}}"}}, "is not known; expected"),
        ({"grader": "autoevals.NoSuchGrader"}, "cannot be loaded"),
        ({"grader": {**EQUAL, "type": "text_similarity", "evaluation_metric": "meteor"}}, "needs WordNet"),
        ({"prices": {"tuned": 3}}, "must be"),
        ({"prices": {"other": {"prompt": 1, "completion": 1}}, "max_cost": 1, "max_tokens": 9}, "has none for tuned"),
    ],
)
def test_a_bad_argument_fails_before_anything_is_asked(
    endpoint: Endpoint, dataset: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        evaluate(**{"dataset": dataset, **arguments})
    assert not endpoint.bodies


def test_a_dataset_without_what_the_grader_needs_names_line_and_field(endpoint: Endpoint, tmp_path: Path) -> None:
    rows = [*chat(3), {"messages": [{"role": "user", "content": SECRET}], "answer": "x"}]
    with pytest.raises(
        DatasetError, match=r"line 4: the grader uses item\.reference, which the line has not"
    ) as raised:
        evaluate(dataset=write(tmp_path / "e.jsonl", rows))
    assert SECRET not in str(raised.value)
    assert not endpoint.bodies


@pytest.mark.parametrize("line", ['{"messages": [', "[]", '{"prompt": "a", "completion": "b"}'])
def test_a_line_that_cannot_be_asked_is_named(endpoint: Endpoint, tmp_path: Path, line: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(f"{json.dumps(chat(1)[0])}\n{line}\n")
    with pytest.raises(DatasetError, match=r"e\.jsonl line 2: "):
        evaluate(dataset=str(path))
    assert not endpoint.bodies


def test_examples_that_were_trained_on_are_refused_unless_asked_for(
    endpoint: Endpoint, dataset: str, tmp_path: Path
) -> None:
    trained = chat(2, lambda n: "another answer")
    trained[0]["messages"][0]["content"] = [{"type": "text", "text": f"{SECRET} 0"}]
    training = write(tmp_path / "train.jsonl", [*trained, *chat(1)])
    with pytest.raises(
        DatasetError, match=r"2 of 20 prompts are in the training data .* the first in line 1"
    ) as raised:
        evaluate(dataset=dataset, training_file=training)
    assert SECRET not in str(raised.value)
    assert not endpoint.bodies
    assert evaluate(dataset=dataset, training_file=[training], allow_overlap=True)[0]["best"] == "tuned"


def test_a_model_that_is_not_there_is_named_after_one_request_to_each(emulator: Emulator, dataset: str) -> None:
    with pytest.raises(RequestRefused, match="ask model ft:gone"):
        evaluate(dataset=dataset, models=["gpt-4.1", "ft:gone"])
    assert len(emulator.requests("POST", "/chat/completions")) == 2


def test_a_model_that_must_be_deployed_first_is_told_how(
    endpoint: Endpoint, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    connection = json.loads(os.environ["AIRFLOW_CONN_OPENAI_DEFAULT"])
    connection["extra"] = {"finetune": {"endpoint": "azure"}}
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
    endpoint.reply = lambda body: refusal("DeploymentNotFound", 404)
    with pytest.raises(RequestRefused, match="Deploy it first"):
        evaluate(dataset=dataset)
    assert len(endpoint.bodies) == 1


def test_answers_of_another_dataset_are_refused(endpoint: Endpoint, dataset: str, tmp_path: Path) -> None:
    answers = str(tmp_path / "answers.jsonl")
    evaluate(dataset=dataset, answers=answers)
    other = write(tmp_path / "other.jsonl", chat(3, lambda n: "other"))
    asked = len(endpoint.bodies)
    with pytest.raises(InvalidRequest, match="holds 20 answers to another dataset"):
        evaluate(dataset=other, answers=answers)
    with pytest.raises(InvalidRequest, match="something else than answers in line 1"):
        evaluate(dataset=dataset, answers=other)
    assert len(endpoint.bodies) == asked
    assert Path(other).read_text().count("\n") == 3


def test_a_model_that_refuses_everything_ends_the_task_after_a_few_requests(endpoint: Endpoint, dataset: str) -> None:
    endpoint.reply = lambda body: refusal("unsupported_value")
    with pytest.raises(EvaluationError, match=r"(?s)refused all of the first 5 requests.*temperature"):
        evaluate(dataset=dataset, concurrency=1)
    assert len(endpoint.bodies) == 5


def test_a_refused_request_counts_as_an_error_with_the_lowest_grade_and_is_not_asked_again(
    endpoint: Endpoint, dataset: str, tmp_path: Path
) -> None:
    def reply(body: dict[str, Any]) -> Any:
        said = body["messages"][-1]["content"]
        return refusal("content_filter") if said.endswith(" 0") else "" if said.endswith(" 1") else said

    endpoint.reply = reply
    for _ in range(2):
        result, _ = evaluate(dataset=dataset, answers=str(tmp_path / "a.jsonl"), baseline="base")
        for row in result["models"]:
            assert (row["examples"], row["errors"], row["empty"], row["score"]) == (20, 1, 1, 0.9)
        assert result["comparisons"][0]["examples"] == 20
    assert len(endpoint.bodies) == 40


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_stops_everything_at_once(endpoint: Endpoint, dataset: str, status: int) -> None:
    endpoint.reply = lambda body: refusal("invalid_api_key", status)
    with pytest.raises(RequestRefused) as raised:
        evaluate(dataset=dataset)
    assert isinstance(raised.value, AirflowFailException)
    assert len(endpoint.bodies) == 1


def test_an_endpoint_out_of_reach_is_left_to_a_retry_which_goes_on(
    endpoint: Endpoint, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_finetune.hooks.traffic.FIRST_PAUSE", 0.01)
    answers = str(tmp_path / "a.jsonl")
    endpoint.reply = lambda body: (500, {}, {}) if len(endpoint.bodies) > 8 else body["messages"][-1]["content"]
    with pytest.raises(EndpointUnreachable):
        evaluate(dataset=dataset, answers=answers, concurrency=1)
    endpoint.bodies.clear()
    endpoint.reply = lambda body: body["messages"][-1]["content"]
    assert evaluate(dataset=dataset, answers=answers)[0]["models"][0]["score"] == 1
    assert len(endpoint.bodies) == 12


def test_a_judge_that_gives_no_number_fails_early_and_keeps_the_answers(
    endpoint: Endpoint, dataset: str, tmp_path: Path
) -> None:
    judge = {"type": "score_model", "name": "j", "model": "judge", "input": [{"role": "user", "content": "rate"}]}
    endpoint.reply = lambda body: "rather good"
    answers = str(tmp_path / "a.jsonl")
    with pytest.raises(EvaluationError, match="first 5 answers: the judge judge answered no number from 0 to 1"):
        evaluate(dataset=dataset, grader=judge, answers=answers, concurrency=1)
    assert [body["model"] for body in endpoint.bodies].count("tuned") == 5
    endpoint.reply = lambda body: '{"result": 0.5}'
    result, _ = evaluate(dataset=dataset, grader=judge, answers=answers)
    assert result["models"][0]["score"] == 0.5
    assert [body["model"] for body in endpoint.bodies].count("tuned") == 20


# -- rate limits and cost


def test_when_the_endpoint_says_later_nobody_asks_before(endpoint: Endpoint, dataset: str) -> None:
    times: list[float] = []

    def reply(body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        time.sleep(0.01)
        return BUSY if len(times) == 10 else body["messages"][-1]["content"]

    endpoint.reply = reply
    result, _ = evaluate(dataset=dataset, concurrency=4)
    assert result["models"][0]["score"] == 1
    assert len(times) == 21
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) > 0.2
    assert sum(gap > 0.2 for gap in gaps) == 1


def test_an_estimate_above_max_cost_fails_before_the_first_request(endpoint: Endpoint, dataset: str) -> None:
    prices = {"prompt": 100, "completion": 1000}
    with pytest.raises(EvaluationError, match="may cost"):
        evaluate(dataset=dataset, prices=prices, max_tokens=1000, max_cost=1)
    assert not endpoint.bodies


def test_max_cost_holds_while_it_runs_and_over_retries(endpoint: Endpoint, dataset: str, tmp_path: Path) -> None:
    # The endpoint bills more than anyone could estimate: 10 + 5 tokens a request, at most 1 was asked for.
    arguments = {
        "dataset": dataset,
        "answers": str(tmp_path / "a.jsonl"),
        "prices": {"tuned": {"prompt": 0, "completion": 1_000_000}},
        "max_tokens": 1,
        "max_cost": 21,
        "concurrency": 1,
    }
    with pytest.raises(EvaluationError, match=r"was spent, and the next request may go beyond max_cost"):
        evaluate(**arguments)
    asked = len(endpoint.bodies)
    assert asked == 5
    with pytest.raises(EvaluationError, match="was spent already"):
        evaluate(**arguments)
    assert len(endpoint.bodies) == asked


# -- what goes right


def test_the_result_is_the_contract_and_holds_no_text(endpoint: Endpoint, dataset: str, tmp_path: Path) -> None:
    endpoint.reply = good_at("ft:step10")
    answers = str(tmp_path / "answers.jsonl")
    result, xcom = evaluate(
        models=OUTCOME, dataset=dataset, baseline="base", answers=answers,
        prices={"prompt": 1, "completion": 2}, max_tokens=9,
    )  # fmt: skip
    assert result["best"] == "ft:step10"
    assert result["baseline"] == "base"
    assert [row["model"] for row in result["models"]] == ["ft:final", "ft:step10", "base"]
    first, second, _ = result["models"]
    assert (first["job_id"], first["base_model"], first["step"], second["step"]) == ("ftjob-1", "base", 20, 10)
    assert second["prompt_tokens"] == 200
    assert second["cost"] == pytest.approx(400e-6)
    assert 0 < second["latency_p50"] <= second["latency_p95"]
    compared = {row["model"]: row for row in result["comparisons"]}
    assert compared["ft:step10"]["wins"] == 20
    assert compared["ft:step10"]["difference_low"] > 0.7
    assert compared["ft:step10"]["p_value"] == pytest.approx(2**-19)
    assert (compared["ft:final"]["ties"], compared["ft:final"]["p_value"]) == (20, 1)
    assert compared["ft:final"]["differ_most"] == []
    lines = [one["line"] for one in compared["ft:step10"]["differ_most"]]
    assert lines == list(range(1, 11))
    assert compared["ft:step10"]["differ_most"][0] == {"line": 1, "grade": 1, "baseline_grade": 0}
    assert result["dataset"]["examples"] == 20
    assert result["answers"] == answers
    assert SECRET not in json.dumps([result, xcom])
    assert xcom["progress"]["step"] == xcom["progress"]["total_steps"] == 60
    assert "ft:step10" in xcom["markdown"]
    page = Path(result["report"]).read_text()
    assert page.count("<svg") == 2
    assert SECRET in page


def test_examples_in_the_report_are_escaped_and_it_loads_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    nasty = "<script src='http://x'></script>&\"{{item.a}}"
    endpoint.reply = lambda body: nasty if body["model"] == "tuned" else "no"
    data = write(tmp_path / "e.jsonl", chat(2, lambda n: nasty))
    result, _ = evaluate(dataset=data, baseline="<b>base</b>", report=str(tmp_path / "out" / "r.html"))
    page = (tmp_path / "out" / "r.html").read_text()
    assert "&lt;script src=" in page
    for bad in ("<script", "<b>", "<link", "<img", "@import"):
        assert bad not in page
    assert result["models"][0]["score"] == 1


def test_nothing_is_asked_twice_and_a_baseline_may_be_gone(endpoint: Endpoint, dataset: str, tmp_path: Path) -> None:
    answers = str(tmp_path / "a.jsonl")
    endpoint.reply = good_at("old")
    evaluate(dataset=dataset, models="old", answers=answers)
    endpoint.reply = lambda body: refusal("model_not_found", 404) if body["model"] == "old" else "new answer"
    result, _ = evaluate(dataset=dataset, models="new", baseline={"model": "old"}, answers=answers)
    assert len(endpoint.bodies) == 40
    assert result["comparisons"][0]["losses"] == 20
    grader = {**EQUAL, "operation": "ne"}
    again, _ = evaluate(dataset=dataset, models="new", baseline="old", answers=answers, grader=grader)
    assert len(endpoint.bodies) == 40
    assert again["comparisons"][0]["wins"] == 20
    evaluate(dataset=dataset, models="new", answers=answers, temperature=1)
    assert len(endpoint.bodies) == 60


def test_a_torn_last_line_is_asked_again_and_harms_nothing_else(
    endpoint: Endpoint, dataset: str, tmp_path: Path
) -> None:
    answers = tmp_path / "a.jsonl"
    evaluate(dataset=dataset, answers=str(answers))
    whole = answers.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1])):
        answers.write_bytes(whole[:-cut])
        endpoint.bodies.clear()
        assert evaluate(dataset=dataset, answers=str(answers))[0]["models"][0]["score"] == 1
        assert len(endpoint.bodies) == (0 if cut == 1 else 1)
        endpoint.bodies.clear()
        evaluate(dataset=dataset, answers=str(answers))
        assert not endpoint.bodies


def test_answers_in_object_storage_are_parts_until_the_end(
    endpoint: Endpoint, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/store/answers.jsonl"
    (tmp_path / "store").mkdir()
    endpoint.reply = lambda body: (
        refusal("invalid_api_key", 401) if len(endpoint.bodies) > 8 else body["messages"][-1]["content"]
    )
    with monkeypatch.context() as dying:  # a worker that dies never comes to the end
        dying.setattr("airflow_provider_finetune.hooks.answers.AnswersFile.close", lambda self: None)
        with pytest.raises(RequestRefused):
            evaluate(dataset=dataset, answers=url, concurrency=1)
    assert [".part-" in path.name for path in (tmp_path / "store").iterdir()] == [True]
    endpoint.bodies.clear()
    endpoint.reply = lambda body: body["messages"][-1]["content"]
    result, _ = evaluate(dataset=dataset, answers=url)
    assert len(endpoint.bodies) == 12
    assert result["report"] == f"file://{tmp_path}/store/answers.html"
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["answers.html", "answers.jsonl"]
    assert len((tmp_path / "store" / "answers.jsonl").read_text().splitlines()) == 20


def test_a_sample_is_the_same_for_the_same_seed_and_repeated_lines_count_once(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    data = write(tmp_path / "e.jsonl", [*chat(30), *chat(5)])
    asked = []
    for seed in (1, 1, 2):
        endpoint.bodies.clear()
        result, _ = evaluate(dataset=data, max_examples=10, seed=seed)
        asked.append({body["messages"][-1]["content"] for body in endpoint.bodies})
        assert result["dataset"]["examples"] == len(endpoint.bodies) == 10
    assert asked[0] == asked[1] != asked[2]
    result, _ = evaluate(dataset=data)
    assert (result["dataset"]["examples"], result["dataset"]["duplicates"]) == (30, 5)


def test_the_request_is_what_was_said_and_each_model_may_be_elsewhere(
    endpoint: Endpoint, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", os.environ["AIRFLOW_CONN_OPENAI_DEFAULT"])
    models = [{"model": "a"}, {"model": "a", "conn_id": "elsewhere"}]
    result, _ = evaluate(
        dataset=dataset, models=str(models), max_examples=1, max_tokens=7, temperature=None, extra_body={"top_k": 1}
    )
    assert [row["conn_id"] for row in result["models"]] == ["openai_default", "elsewhere"]
    assert endpoint.bodies[0] == endpoint.bodies[1]
    assert {**endpoint.bodies[0], "messages": 0} == {"model": "a", "messages": 0, "max_tokens": 7, "top_k": 1}
    assert endpoint.bodies[0]["messages"][-1]["role"] == "user"


# -- graders that need more


def test_a_python_grader_loses_only_the_examples_that_it_cannot_grade(endpoint: Endpoint, tmp_path: Path) -> None:
    source = (
        "import os\n"
        "def grade(sample, item):\n"
        "    print('noise')\n"
        "    n = item['n']\n"
        "    if n == 3: os._exit(1)\n"
        "    if n == 4: raise KeyError('secret')\n"
        "    if n == 5: return 'x' * 10 ** 12\n"
        "    if n == 6:\n"
        "        while True: pass\n"
        "    if n == 7:\n"
        "        with open('here', 'w') as file: file.write('x')\n"
        "    assert 'AIRFLOW_CONN_OPENAI_DEFAULT' not in os.environ\n"
        "    return 0.5 if sample['output_text'] == item['reference'] else 0\n"
    )
    data = write(tmp_path / "e.jsonl", [{**row, "n": n} for n, row in enumerate(chat(12))])
    result, _ = evaluate(
        dataset=data,
        grader={"type": "python", "name": "p", "source": source},
        allow_python=True,
        grader_seconds=1,
        answers=str(tmp_path / "a.jsonl"),
    )
    row = result["models"][0]
    assert (row["ungraded"], row["score"]) == (5, 0.5)
    assert "secret" not in (tmp_path / "a.jsonl").read_text()
    assert len(endpoint.bodies) == 12


def test_autoevals_json_diff_works_as_it_is(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body: '{"a": 1, "b": 2}'
    data = write(tmp_path / "e.jsonl", chat(2, lambda n: json.dumps({"a": 1, "b": 2 if n else 3})))
    result, _ = evaluate(dataset=data, grader="autoevals.JSONDiff")
    assert 0.5 < result["models"][0]["score"] < 1
    assert result["grader"]["name"] == "autoevals.JSONDiff"


def test_cosine_embeds_both_texts_and_multi_joins_the_grades(endpoint: Endpoint, dataset: str) -> None:
    def reply(body: dict[str, Any]) -> Any:
        if "input" in body:
            return 200, {}, {"data": [{"embedding": [1, 0]}, {"embedding": [1, 1]}], "usage": {"prompt_tokens": 4}}
        if body["model"] == "judge":
            return '{"result": "good"}'
        return body["messages"][-1]["content"]

    endpoint.reply = reply
    judge = {"type": "label_model", "name": "l", "model": "judge", "labels": ["good", "bad"],
             "passing_labels": ["good"], "input": [{"role": "user", "content": "{{sample.output_text}}"}]}  # fmt: skip
    parts = {
        "same": EQUAL,
        "near": {**EQUAL, "type": "text_similarity", "evaluation_metric": "cosine"},
        "label": judge,
    }
    grader = {"type": "multi", "name": "m", "graders": parts, "calculate_output": "(same + near + label) / 3"}
    result, _ = evaluate(dataset=dataset, grader=grader, max_examples=3)
    assert result["models"][0]["score"] == pytest.approx((2 + math.sqrt(0.5)) / 3, abs=1e-5)
