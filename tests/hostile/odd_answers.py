"""Odd answers, drawn by hypothesis: every field of what an endpoint tells may be anything, or missing."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

JOB: dict[str, Any] = {
    "id": "ftjob-1", "object": "fine_tuning.job", "model": "gpt-4.1-mini", "created_at": 1_700_000_000,
    "finished_at": 1_700_000_100, "fine_tuned_model": "ft:gpt-4.1-mini:org::1", "organization_id": "org",
    "result_files": ["file-2"], "status": "succeeded", "validation_file": None, "training_file": "file-1",
    "hyperparameters": {"n_epochs": 3, "batch_size": 1}, "trained_tokens": 100, "error": None, "seed": 7,
    "estimated_finish": None, "metadata": {"a": "b"}, "user_provided_suffix": "s",
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
}  # fmt: skip
EVENT: dict[str, Any] = {
    "id": "ftevent-1", "object": "fine_tuning.job.event", "created_at": 1_700_000_050, "level": "info",
    "message": "Step 1", "type": "metrics", "data": {"step": 1, "train_loss": 0.5, "total_steps": 3},
}  # fmt: skip
CHECKPOINT: dict[str, Any] = {
    "id": "ftckpt-1", "object": "fine_tuning.job.checkpoint", "created_at": 1_700_000_090, "step_number": 3,
    "fine_tuned_model_checkpoint": "ft:1", "fine_tuning_job_id": "ftjob-1", "metrics": {"step": 3, "train_loss": 0.1},
}  # fmt: skip
FILE: dict[str, Any] = {
    "id": "file-1", "object": "file", "bytes": 100, "created_at": 1_700_000_000, "filename": "train.jsonl",
    "purpose": "fine-tune", "status": "processed", "expires_at": None,
}  # fmt: skip
MODEL: dict[str, Any] = {"id": "ft:1", "object": "model", "created": 1_700_000_000, "owned_by": "org"}
ERROR: dict[str, Any] = {"error": {"code": "server_error", "message": "down", "param": None, "type": "server_error"}}
JSON = {"content-type": "application/json"}
STATUSES = ["succeeded", "failed", "cancelled", "running", "paused", "queued", "SUCCESS", "none of these", "", None]

odd_text = st.sampled_from(
    ["", "\x00", "\x1b[2J", "a\nb", "\ud800", "x" * 5000, "é" * 700, "{{ 1 }}", "<script>", "9" * 400, "token a " * 900]
)
odd_number = st.sampled_from([0, -1, 2**63, 10**400, 1e300, float("nan"), float("inf"), -0.5, 10**18])
anything = st.recursive(
    st.none() | st.booleans() | odd_number | odd_text | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text | st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


def fuzzed(honest: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with some of its fields changed, at any depth, and some left out."""
    fields = st.dictionaries(st.sampled_from([*honest, "unknown"]), anything, max_size=4)
    missing = st.sets(st.sampled_from(list(honest)), max_size=2)
    return st.builds(
        lambda odd, without: {name: value for name, value in {**honest, **odd}.items() if name not in without},
        fields,
        missing,
    )


def pages(honest: dict[str, Any]) -> st.SearchStrategy[Any]:
    page = st.fixed_dictionaries({"data": st.lists(fuzzed(honest) | anything, max_size=4), "has_more": st.booleans()})
    return page | anything | st.builds(lambda page, odd: {**page, "data": odd}, page, anything)


jobs = st.builds(
    lambda job, status, keeps_id: {**job, "status": status, **({"id": "ftjob-1"} if keeps_id else {})},
    fuzzed(JOB),
    st.sampled_from(STATUSES) | anything,
    st.sampled_from([True, True, True, False]),
)
statuses = st.sampled_from([200, 200, 200, 200, 201, 204, 301, 400, 401, 404, 409, 418, 429, 500, 503])
heads = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.sampled_from(["1e300", "999999999", "nan", "-1", "x" * 90, "0.01"]),
        "content-type": st.sampled_from(["application/json; charset=punycode", "application/json; charset=\x80", "a"]),
        "content-encoding": st.sampled_from(["gzip", "br", "identity", "deflate, gzip", ""]),
    },
)


class Ti:
    """A task instance that keeps what is pushed."""

    dag_id, run_id, task_id, map_index = "fuzz", "run", "wait", -1
    start_date, try_number, max_tries = None, 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, **_: Any) -> None:
        return None


def check(left_behind: dict[str, Any]) -> None:
    """What is left behind is JSON that every database takes, and small."""
    written = json.dumps(left_behind, allow_nan=False, ensure_ascii=False)
    written.encode()
    assert "\\u0000" not in written
    assert len(written) < 200_000


#: FUZZ_EXAMPLES=3000 draws more, for a long run.
bounded_time = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
