"""Which files go together."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.datasets.pairs import Pair, pairs_by_name, pairs_of


@pytest.mark.parametrize(
    ("files", "on_disk", "pairs"),
    [
        (["train.jsonl", "valid.jsonl"], [], [Pair("train.jsonl", "valid.jsonl")]),
        (["valid.jsonl"], ["train.jsonl"], [Pair("train.jsonl", "valid.jsonl")]),
        (["train.jsonl"], ["test.jsonl"], [Pair("train.jsonl", "test.jsonl")]),
        (["a/train.jsonl", "b/valid.jsonl"], [],
         [Pair("a/train.jsonl", None, False), Pair(None, "b/valid.jsonl", False)]),
        (["a/train.jsonl", "b/train.jsonl"], ["a/val.jsonl", "b/eval.jsonl"],
         [Pair("a/train.jsonl", "a/val.jsonl"), Pair("b/train.jsonl", "b/eval.jsonl")]),
        (["faq_validation_v2.jsonl"], ["faq_training_v2.jsonl"],
         [Pair("faq_training_v2.jsonl", "faq_validation_v2.jsonl")]),
        (["Validation.jsonl"], [], [Pair(None, "Validation.jsonl", False)]),
        (["train.v1.jsonl"], ["valid.v1.jsonl"], [Pair("train.v1.jsonl", "valid.v1.jsonl")]),
        (["faq.jsonl", "latest.jsonl", "trainer.jsonl"], ["anything"],
         [Pair("faq.jsonl", None, False), Pair("latest.jsonl", None, False), Pair("trainer.jsonl", None, False)]),
        (["test/train.jsonl"], [], [Pair("test/train.jsonl", None, False)]),
    ],
)  # fmt: skip
def test_names_tell_it(files: list[str], on_disk: list[str], pairs: list[Pair]) -> None:
    assert pairs_by_name(files, on_disk.__contains__) == pairs


def test_or_the_order() -> None:
    assert pairs_of(["a", "b"], ["c", "d"]) == [Pair("a", "c"), Pair("b", "d")]
    assert pairs_of(["a", "b"], []) == [Pair("a", None), Pair("b", None)]
    assert pairs_of([], ["c"]) == [Pair(None, "c", False)]
    with pytest.raises(ValueError, match="2 training and 1 validation files"):
        pairs_of(["a", "b"], ["c"])
