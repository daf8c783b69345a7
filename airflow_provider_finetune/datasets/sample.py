"""One good line of each method, to show to somebody whose file has lines of another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.datasets.formats import Method

SAMPLES: Final[Mapping[Method, str]] = {
    "supervised": (
        '{"messages": [{"role": "user", "content": "Where is my invoice?"}, '
        '{"role": "assistant", "content": "You find it under Billing."}]}'
    ),
    "dpo": (
        '{"input": {"messages": [{"role": "user", "content": "Where is my invoice?"}]}, '
        '"preferred_output": [{"role": "assistant", "content": "You find it under Billing."}], '
        '"non_preferred_output": [{"role": "assistant", "content": "I do not know."}]}'
    ),
    "reinforcement": (
        '{"messages": [{"role": "user", "content": "Where is my invoice?"}], "reference": "You find it under Billing."}'
    ),
    "completion": '{"prompt": "Where is my invoice?", "completion": "You find it under Billing."}',
}
