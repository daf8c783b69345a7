"""The names of hyperparameters that endpoints are known to have, and slips of the pen for them."""

from __future__ import annotations

import difflib
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

#: OpenAI's and Azure's, then those of compatible endpoints: Nebius, Crusoe, Unsloth, and servers built on the usual
#: training libraries. A name that is not here is no error: endpoints keep adding their own.
_KNOWN = """
n_epochs batch_size learning_rate_multiplier beta reasoning_effort compute_multiplier eval_interval eval_samples
learning_rate lora lora_r lora_rank lora_alpha lora_dropout lora_target_modules lora_trainable_modules packing
context_length max_seq_length max_length warmup_ratio warmup_steps weight_decay max_grad_norm max_steps
gradient_accumulation_steps lr_scheduler lr_scheduler_type min_lr_ratio optimizer n_checkpoints n_evals save_steps
eval_steps train_on_inputs train_on_responses_only prompt_loss_weight load_in_4bit load_in_8bit use_rslora
beta1 beta2 classification_n_classes compute_classification_metrics seed
"""
HYPERPARAMETERS = frozenset(_KNOWN.split())


def slip_of(name: str, known: Collection[str]) -> str | None:
    """Return the known name that was probably meant by one that is not known; None when there is no such name.

    ``n_epoch``, ``epochs``, ``numEpochs``, ``batchsize`` and ``bacth_size`` are slips; ``lora_bias`` is a name that we
    do not know.
    """
    if not isinstance(name, str) or name in known:
        return None
    by_core = {_core(one): one for one in known}
    core = _core(name)
    # 0.8: a letter left out, doubled, wrong, or two exchanged, in a name of five letters or more.
    close = [core] if core in by_core else difflib.get_close_matches(core, by_core, n=1, cutoff=0.8)
    return by_core[close[0]] if close else None


def misspelt(word: str, known: Collection[str]) -> str | None:
    """Return the known word of which one letter is wrong, missing, too many, or exchanged with the next.

    Short words are left alone: ``cdpo`` is a method, and no slip for ``dpo``.
    """
    return next((one for one in known if len(one) > 7 and _is_one_letter_off(word.lower(), one)), None)


def _is_one_letter_off(word: str, other: str) -> bool:
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, other, strict=False)))
    rest, wanted = word[same:], other[same:]
    exchanged = rest[1::-1] + rest[2:]
    return word != other and (rest[1:] in (wanted, wanted[1:]) or rest == wanted[1:] or exchanged == wanted)


def _core(name: str) -> str:
    """Return what is left of a name without what people leave out, add or spell otherwise."""
    letters = name.lower().replace("-", "_").strip("_")
    for counting in ("n_", "num_", "num"):
        letters = letters.removeprefix(counting)
    return letters.replace("_", "").removesuffix("s")
