"""The rule of promotion, and going back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.models.history import Champion, History
from airflow_provider_finetune.models.promotion import Decision, NotComparable, Rule, decide, roll_back
from tests.models.evaluations import CLEARLY_BETTER, CLEARLY_WORSE, differences, evaluation, pair, real, row

NOBODY = History("support-bot")
RUN = {"dag_id": "retrain", "run_id": "one", "task_id": "promote", "map_index": -1}


def reign(*models: str, **more: Any) -> History:
    history = NOBODY
    for model in models:
        history = history.followed_by(Champion(number=0, model=model, conn_id="openai_default", **more))
    return history


def after(history: History, decision: Decision, **more: Any) -> History:
    return history.followed_by(replace(decision.record, **more)) if decision.changes else history


class TestWhatIsRefused:
    def test_a_comparison_with_another_model_than_the_champion(self) -> None:
        with pytest.raises(NotComparable, match="compares with old, but newer is the champion of support-bot"):
            decide(reign("old", "newer"), evaluation(pair("candidate", "old", *CLEARLY_BETTER)), Rule())

    def test_a_comparison_with_the_base_model_when_there_is_a_champion_by_now(self) -> None:
        with pytest.raises(NotComparable, match="compares with base, but old is the champion"):
            decide(reign("old"), evaluation(pair("candidate", "base", *CLEARLY_BETTER)), Rule(min_score=0.1))

    def test_a_model_of_the_champions_name_at_another_endpoint(self) -> None:
        rows = [row("candidate"), row("old", "elsewhere")]
        with pytest.raises(NotComparable, match="asked old at the connection elsewhere"):
            decide(reign("old"), evaluation(pair("candidate", "old", *CLEARLY_BETTER), rows=rows), Rule())

    def test_a_first_champion_that_was_compared_with_something_else_than_its_base_model(self) -> None:
        with pytest.raises(NotComparable, match="compares with old, but base is the base model"):
            decide(NOBODY, evaluation(pair("candidate", "old", *CLEARLY_BETTER)), Rule())

    def test_a_first_champion_of_which_nobody_knows_the_base_model(self) -> None:
        rows = [row("candidate", base_model=None), row("base")]
        with pytest.raises(NotComparable, match="or set min_score"):
            decide(NOBODY, evaluation(pair("candidate", "base", *CLEARLY_BETTER), rows=rows), Rule())

    def test_an_evaluation_without_a_baseline(self) -> None:
        with pytest.raises(NotComparable, match="has no baseline, and base is the base model"):
            decide(NOBODY, evaluation(rows=[row("candidate")]), Rule())

    def test_a_model_without_a_score_where_only_the_score_counts(self) -> None:
        with pytest.raises(NotComparable, match="candidate has no score"):
            decide(NOBODY, evaluation(rows=[row("candidate", score=None)]), Rule(min_score=0.5))

    def test_an_evaluation_in_which_nothing_was_graded(self) -> None:
        with pytest.raises(NotComparable, match="nothing was graded"):
            decide(NOBODY, evaluation(rows=[row("candidate", score=None)], best=None), Rule())

    def test_intervals_that_are_less_certain_than_wanted(self) -> None:
        with pytest.raises(NotComparable, match=r"Evaluate with confidence=0\.99"):
            decide(reign("old"), evaluation(pair("candidate", "old", *CLEARLY_BETTER)), Rule(confidence=0.99))

    def test_a_candidate_that_was_not_evaluated(self) -> None:
        found = evaluation(pair("candidate", "old", *CLEARLY_BETTER))
        with pytest.raises(NotComparable, match="other was not evaluated; the evaluation is of candidate, old"):
            decide(reign("old"), found, Rule(), candidate="other")

    def test_a_name_that_stands_for_two_models(self) -> None:
        rows = [row("candidate"), row("candidate", "elsewhere"), row("old")]
        with pytest.raises(NotComparable, match="at openai_default and at elsewhere"):
            decide(reign("old"), evaluation(pair("candidate", "old", *CLEARLY_BETTER), rows=rows), Rule())

    def test_two_models_without_an_example_in_common(self) -> None:
        found = evaluation(pair("candidate", "old", *CLEARLY_BETTER), comparisons=[])
        with pytest.raises(NotComparable, match="no example in common"):
            decide(reign("old"), found, Rule())

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_numbers_that_are_none(self, number: float) -> None:
        with pytest.raises(NotComparable, match="not made of numbers"):
            decide(reign("old"), evaluation(pair("candidate", "old", number, 0.1, 0.2, 0.01)), Rule())

    @pytest.mark.parametrize("found", [None, "text", {}, {"models": []}, {"models": [{"model": 1}]}, [1]])
    def test_what_is_no_evaluation(self, found: Any) -> None:
        with pytest.raises(NotComparable, match="not what EvaluateModelOperator returns"):
            decide(NOBODY, found, Rule())


class TestTheRule:
    @given(differences, st.floats(-0.5, 0.5), st.sampled_from([0.8, 0.9, 0.95]))
    def test_nothing_is_promoted_whose_interval_reaches_down_to_the_least_difference(
        self, numbers: tuple[float, float, float, float], least: float, confidence: float
    ) -> None:
        found = evaluation(pair("candidate", "old", *numbers))
        decision = decide(reign("old"), found, Rule(least, confidence))
        difference, low, _, p_value = numbers
        if decision.outcome == "promoted":
            assert low > least
            assert least < 0 or (difference > 0 and p_value <= 1 - confidence)
        else:
            assert decision.outcome == "kept"
            assert low <= least or difference <= 0 or p_value > 1 - confidence

    @given(differences, st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0.5, 0.95), st.floats(0.5, 0.95))
    def test_who_asks_for_more_promotes_no_more(
        self, numbers: tuple[float, float, float, float], least: float, more: float, one: float, other: float
    ) -> None:
        found, history = evaluation(pair("candidate", "old", *numbers)), reign("old")
        low, high = sorted((one, other))
        if not decide(history, found, Rule(least, low)).changes:
            assert not decide(history, found, Rule(least + more, high)).changes

    @settings(deadline=None)  # it imports scipy
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
    def test_of_two_models_at_most_one_is_better_whatever_they_answered(self, answers: list[Any]) -> None:
        ours, theirs = ([float(pair[side]) for pair in answers] for side in (0, 1))
        forth = decide(reign("old"), real(ours, theirs), Rule())
        back = decide(reign("old"), real(theirs, ours), Rule())
        assert not (forth.changes and back.changes)
        if forth.changes:
            assert sum(ours) > sum(theirs)

    def test_five_wins_of_five_are_no_evidence_yet_and_six_are(self) -> None:
        five, six = (real([1.0] * n, [0.0] * n) for n in (5, 6))
        assert decide(reign("old"), five, Rule()).outcome == "kept"
        assert decide(reign("old"), six, Rule()).outcome == "promoted"

    def test_a_model_that_is_a_little_worse_may_follow_where_that_is_allowed(self) -> None:
        found = evaluation(pair("cheaper", "old", -0.01, -0.04, 0.02, 0.6))
        assert decide(reign("old"), found, Rule(min_difference=-0.05)).outcome == "promoted"
        assert decide(reign("old"), found, Rule(min_difference=-0.03)).outcome == "kept"

    def test_the_best_is_the_candidate_unless_another_one_is_named(self) -> None:
        pairs = pair("final", "old", *CLEARLY_WORSE), pair("step-5", "old", *CLEARLY_BETTER)
        found = evaluation(*pairs, best="step-5")
        assert decide(reign("old"), found, Rule()).record.model == "step-5"
        assert decide(reign("old"), found, Rule(), candidate="final").outcome == "kept"

    def test_the_champion_itself_changes_nothing(self) -> None:
        decision = decide(reign("old"), evaluation(rows=[row("old")]), Rule())
        assert decision.outcome == "unchanged"
        assert decision.reason == "old is the champion of support-bot already."


class TestTheFirst:
    def test_it_must_beat_its_base_model(self) -> None:
        better, worse = (evaluation(pair("new", "base", *n)) for n in (CLEARLY_BETTER, CLEARLY_WORSE))
        assert decide(NOBODY, better, Rule()).outcome == "promoted"
        kept = decide(NOBODY, worse, Rule())
        assert kept.outcome == "kept"
        assert kept.as_json()["champion"] is None
        assert kept.reason.startswith("support-bot gets no champion: new is 0.2 worse than the base model base (95 % ")

    def test_or_reach_a_score(self) -> None:
        found = evaluation(rows=[row("new", score=0.8, base_model=None)])
        promoted = decide(NOBODY, found, Rule(min_score=0.8))
        assert promoted.outcome == "promoted"
        assert promoted.reason == "new becomes the first champion of support-bot: its score 0.8 is at least 0.8."
        kept = decide(NOBODY, found, Rule(min_score=0.81))
        assert kept.reason == "support-bot gets no champion: the score 0.8 of new is below min_score 0.81."


class TestTheDecision:
    def test_it_tells_its_numbers_in_a_line_and_as_json(self) -> None:
        decision = decide(reign("old"), evaluation(pair("new", "old", 0.2, 0.1, 0.3, 0.00123)), Rule())
        assert decision.reason == (
            "new becomes the champion of support-bot: 0.2 better than old (95 % interval 0.1 to 0.3, p = 0.0012; "
            "30 wins, 10 losses and 60 ties on 100 examples)."
        )
        found = json.loads(json.dumps(decision.as_json()))
        assert (found["outcome"], found["promoted"], found["candidate"], found["before"]) == (
            "promoted", True, "new", "old",
        )  # fmt: skip
        assert found["numbers"].items() >= {
            "difference": 0.2, "p_value": 0.00123, "wins": 30, "compared_with": "old", "min_difference": 0.0,
        }.items()  # fmt: skip
        assert found["champion"]["dataset_sha256"] == "d" * 64
        assert found["champion"]["base_model"] == "base"

    def test_it_says_why_a_model_is_kept_and_who_stays(self) -> None:
        decision = decide(reign("old"), evaluation(pair("new", "old", 0.01, -0.05, 0.07, 0.8)), Rule(0.02))
        assert decision.reason == (
            "old stays the champion of support-bot: new is 0.01 better than old (95 % interval -0.05 to 0.07, p = 0.8; "
            "30 wins, 10 losses and 60 ties on 100 examples), and must be more than 0.02 better with 95 % confidence."
        )
        assert decision.as_json()["champion"]["model"] == "old"
        equal = decide(reign("old"), evaluation(pair("new", "old", 0.0, -0.1, 0.1, 1.0)), Rule(-0.02))
        assert "new is just as good as old (" in equal.reason
        assert "must be less than 0.02 worse" in equal.reason

    def test_a_second_try_of_the_task_that_promoted_says_so_again(self) -> None:
        found = evaluation(pair("new", "old", *CLEARLY_BETTER))
        first = decide(reign("old"), found, Rule(), run=RUN)
        history = after(reign("old"), first, run=RUN)
        again = decide(history, found, Rule(), run=RUN)
        assert (again.outcome, again.is_written, again.record) == ("promoted", True, history.champion)
        assert again.as_json()["before"] == "old"
        assert again.as_json()["numbers"] == first.as_json()["numbers"]
        assert decide(history, found, Rule(), run={**RUN, "run_id": "two"}).outcome == "unchanged"


class TestGoingBack:
    def test_there_must_be_something_to_go_back_to(self) -> None:
        with pytest.raises(ValueError, match="support-bot has no champion"):
            roll_back(NOBODY)
        with pytest.raises(ValueError, match="a is the first champion of support-bot"):
            roll_back(reign("a"))
        with pytest.raises(ValueError, match=r"c was never the champion of support-bot, .*: b, a\."):
            roll_back(reign("a", "b"), to="c")

    def test_the_champion_before_takes_over_with_its_own_record(self) -> None:
        history = NOBODY
        for model, job in (("a", "ftjob-a"), ("b", "ftjob-b")):
            history = history.followed_by(Champion(number=0, model=model, conn_id="here", job_id=job))
        back = roll_back(history)
        assert back.reason == "a is the champion of support-bot again, in place of b."
        now = after(history, back).champion
        assert now is not None
        assert (now.number, now.model, now.job_id, now.restores, now.predecessor) == (3, "a", "ftjob-a", 1, "b")

    def test_going_back_twice_goes_further_back_and_not_forth_again(self) -> None:
        history = reign("a", "b", "c")
        history = after(history, roll_back(history))
        history = after(history, roll_back(history))
        assert history.champion is not None
        assert history.champion.model == "a"
        with pytest.raises(ValueError, match="first champion"):
            roll_back(history)

    def test_the_champion_itself_changes_nothing(self) -> None:
        assert roll_back(reign("a", "b"), to="b").outcome == "unchanged"

    def test_a_task_goes_back_once_in_all_its_tries(self) -> None:
        history = reign("a", "b", "c")
        history = after(history, roll_back(history, run=RUN), run=RUN)
        again = roll_back(history, run=RUN)
        assert (again.outcome, again.is_written, again.record.model) == ("rolled_back", True, "b")
        later = roll_back(reign_on(history, "d"), run=RUN)
        assert (later.outcome, later.before and later.before.model) == ("unchanged", "d")

    @given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=30))
    def test_whatever_happened_going_back_ends_and_never_repeats_a_promotion(self, steps: list[str | None]) -> None:
        history = NOBODY
        for model in steps:
            if model is not None:
                history = reign_on(history, model)
            elif history.predecessor is not None:
                history = after(history, roll_back(history))
        assume(history.champion is not None)
        taken_up = []
        while history.predecessor is not None:
            history = after(history, roll_back(history))
            assert history.champion is not None
            taken_up.append(history.champion.restores)
        assert taken_up == sorted(set(taken_up), key=lambda number: -(number or 0))


def reign_on(history: History, model: str) -> History:
    return history.followed_by(Champion(number=0, model=model, conn_id="openai_default"))
