"""How alike two texts are, by the metrics of the API's ``text_similarity`` grader, each from a well-kept library.

The API names the metrics, not their settings; these are the libraries' own. ``cosine`` compares embeddings, which a
model makes, so it is not here. The libraries come with the extra ``evaluation`` and are imported when they are used.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COSINE = "cosine"
ROUGE = {f"rouge_{size}": f"rouge{size.upper()}" for size in ("1", "2", "3", "4", "5", "l")}
_WHERE = "install airflow-provider-finetune[evaluation]"


class MetricUnavailable(ValueError):
    """A library, or its data, is not on this machine."""


def metric(name: str) -> Callable[[str, str], float]:
    """Return the function that compares an answer with its reference: 1 for the same text, 0 for nothing in common.

    :param name: ``fuzzy_match``, ``bleu``, ``gleu``, ``meteor``, or ``rouge_1`` to ``rouge_5`` and ``rouge_l``.
    :raises MetricUnavailable: the library that it needs is not installed, or lacks its data.
    """
    try:
        if name in ROUGE:
            return _rouge(ROUGE[name])
        return _METRICS[name]()
    except ImportError as error:
        raise MetricUnavailable(f"text_similarity with {name} needs {error.name}: {_WHERE}") from None


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the cosine of the angle between two embeddings; 0 when one has no length."""
    product = sum(a * b for a, b in zip(left, right, strict=True))
    length = (sum(a * a for a in left) * sum(b * b for b in right)) ** 0.5
    return product / length if length else 0.0


@cache
def _rouge(kind: str) -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind])
    return lambda answer, reference: float(scorer.score(reference, answer)[kind].fmeasure)


@cache
def _fuzzy_match() -> Callable[[str, str], float]:
    from rapidfuzz.fuzz import ratio

    return lambda answer, reference: float(ratio(answer, reference)) / 100


@cache
def _bleu() -> Callable[[str, str], float]:
    from sacrebleu.metrics.bleu import BLEU

    # A sentence shorter than four words has no four-grams, which says nothing about it.
    bleu = BLEU(effective_order=True)
    return lambda answer, reference: min(1.0, float(bleu.sentence_score(answer, [reference]).score) / 100)


@cache
def _gleu() -> Callable[[str, str], float]:
    from nltk.translate.gleu_score import sentence_gleu

    def gleu(answer: str, reference: str) -> float:
        said, wanted = answer.split(), reference.split()
        return float(sentence_gleu([wanted], said)) if said and wanted else float(said == wanted)

    return gleu


@cache
def _meteor() -> Callable[[str, str], float]:
    from nltk.corpus import wordnet
    from nltk.translate.meteor_score import meteor_score

    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise MetricUnavailable(
            "text_similarity with meteor needs WordNet, which NLTK does not bring along. Put it on the worker with "
            "`python -m nltk.downloader wordnet`, or use rouge_l or gleu, which need nothing."
        ) from None

    def meteor(answer: str, reference: str) -> float:
        said, wanted = answer.split(), reference.split()
        return float(meteor_score([wanted], said)) if said and wanted else float(said == wanted)

    return meteor


_METRICS: dict[str, Callable[[], Callable[[str, str], float]]] = {
    "fuzzy_match": _fuzzy_match,
    "bleu": _bleu,
    "gleu": _gleu,
    "meteor": _meteor,
}
