"""The endpoints that the emulator can be like, each as its differences from OpenAI's.

They were collected from the source of servers, from documentation and from SDKs, not from live endpoints. A
dialect does not keep what its endpoint is not known to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from airflow_provider_finetune.emulator.dialect import JOBS, Answer, Dialect
from airflow_provider_finetune.emulator.errors import ApiError

if TYPE_CHECKING:
    from airflow_provider_finetune.emulator import Endpoint
    from airflow_provider_finetune.emulator.dialect import Shown
    from airflow_provider_finetune.emulator.job import Job

NOTHING: frozenset[str] = frozenset()
PAUSE = (f"POST {JOBS}/*/pause", f"POST {JOBS}/*/resume")
EVENTS, CHECKPOINTS = f"GET {JOBS}/*/events", f"GET {JOBS}/*/checkpoints"
UPLOADS = ("* /uploads", "* /uploads/**")
CHAT = "* /chat/**"


def _without(*requests: str) -> dict[str, Answer]:
    return dict.fromkeys(requests, Answer())


def _detail(error: ApiError) -> Shown:
    """Return an error as FastAPI words it."""
    return {"detail": str(error)}


# Azure

_AZURE_STATUSES = {"validating_files": "pending", "queued": "pending"}
_METRICS = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)


def _azure_job(job: Job, shown: Shown, is_settled: bool) -> Shown:
    status, finished_at = _AZURE_STATUSES.get(job.status, job.status), job.finished_at
    if job.status == "cancelled" and not is_settled:
        status, finished_at = "canceling", None
    hyperparameters = {name: -1 if value == "auto" else value for name, value in shown["hyperparameters"].items()}
    return {
        **shown,
        "status": status,
        "finished_at": finished_at,
        "hyperparameters": hyperparameters,
        "seed": -1 if job.wanted.seed is None else job.seed,
        "trained_tokens": -1 if job.trained_tokens is None else job.trained_tokens,
    }


def _azure_event(_: Job, event: Shown) -> Shown:
    return {**event, "data": {**dict.fromkeys(_METRICS, -1), **event["data"]}} if event["data"] else event


def _azure_checkpoint(_: Job, checkpoint: Shown) -> Shown:
    return {**checkpoint, "metrics": {**dict.fromkeys(_METRICS, -1), **checkpoint["metrics"]}}


def _azure_name(base: str, suffix: str, part: str) -> str:
    job, colon, step = part.partition(":")
    return f"{base}.ft-{uuid5(NAMESPACE_OID, job).hex}{f'-{suffix}' if suffix else ''}{colon}{step}"


def _azure_not_deployed(_: str) -> ApiError:
    message = "The API deployment for this resource does not exist."
    return ApiError(404, message, code="DeploymentNotFound")


AZURE = Dialect(
    keeps=frozenset({"metadata", "seed", "suffix"}),
    show_job=_azure_job,
    show_event=_azure_event,
    show_checkpoint=_azure_checkpoint,
    hex_ids=True,
    name_model=_azure_name,
    must_deploy=True,
    not_deployed=_azure_not_deployed,
)

BEDROCK = Dialect(
    closed=_without(*PAUSE, *UPLOADS),
    keeps=NOTHING,
    refuses=frozenset({"suffix"}),
    takes_lambda=True,
)

# Nebius and Crusoe, which have hyperparameters of their own

_NEBIUS_HYPERPARAMETERS = {
    "learning_rate": 1e-5,
    "lora": False,
    "lora_r": 8,
    "lora_alpha": 8,
    "packing": True,
    "context_length": 8192,
    "warmup_ratio": 0.0,
}


def _own_hyperparameters(job: Job, **own: Any) -> Shown:
    chosen = {**own, **job.hyperparameters}
    del chosen["learning_rate_multiplier"]
    return chosen


def _nebius_job(job: Job, shown: Shown, _: bool) -> Shown:
    step: Shown = next((event["data"] for event in reversed(job.events) if event["data"]), {})
    return {
        **shown,
        "hyperparameters": _own_hyperparameters(job, **_NEBIUS_HYPERPARAMETERS),
        "trained_steps": step.get("step", 0),
        "total_steps": step.get("total_steps"),
    }


NEBIUS = Dialect(
    closed=_without(*PAUSE, *UPLOADS),
    keeps=frozenset({"seed", "suffix"}),
    show_job=_nebius_job,
    must_deploy=True,
)


def _crusoe_job(job: Job, shown: Shown, is_settled: bool) -> Shown:
    name = job.fine_tuned_model if is_settled else None
    return {**shown, "hyperparameters": _own_hyperparameters(job), "fine_tuned_model": name}


CRUSOE = Dialect(
    closed=_without(*PAUSE, *UPLOADS, CHAT),
    keeps=NOTHING,
    show_job=_crusoe_job,
    shuffles_events=True,
    must_deploy=True,
)

# Unsloth Studio


def _unsloth_job(_: Job, shown: Shown, __: bool) -> Shown:
    return {"metadata": None, **shown, "result_files": []}


def _unsloth_event(job: Job, event: Shown) -> Shown:
    if not (data := event["data"]):
        return event
    chosen = job.hyperparameters
    more = {
        "learning_rate": 1e-4 * chosen["learning_rate_multiplier"],
        "grad_norm": data["train_loss"],  # which nobody measures here; it falls with the loss
        "epoch": round(data["step"] * chosen["n_epochs"] / data["total_steps"], 4),
    }
    return {**event, "data": {**data, **more}}


def _unsloth_name(_: str, suffix: str, part: str) -> str:
    return f"run-{suffix}-{part}" if suffix else f"run-{part}"


UNSLOTH = Dialect(
    closed={
        **_without(*UPLOADS, "GET /files/*/content", "DELETE /files/*"),
        **dict.fromkeys(PAUSE, Answer(400, "Pausing and resuming are not supported.")),
    },
    keeps=frozenset({"seed", "suffix"}),
    is_strict=True,
    methods=frozenset({"supervised"}),
    one_at_a_time=True,
    show_job=_unsloth_job,
    show_event=_unsloth_event,
    name_model=_unsloth_name,
    show_error=_detail,
    must_deploy=True,
)

# LLMariner

_ZEROS = {
    "finished_at": 0,
    "estimated_finish": 0,
    "trained_tokens": 0,
    "fine_tuned_model": "",
    "validation_file": "",
    "error": {"code": "", "message": "", "param": ""},
}


def _llmariner_job(_: Job, shown: Shown, __: bool) -> Shown:
    return {name: _ZEROS.get(name) if value is None else value for name, value in shown.items()}


LLMARINER = Dialect(
    closed=_without(*PAUSE, *UPLOADS, EVENTS, CHECKPOINTS),
    keeps=frozenset({"seed"}),
    show_job=_llmariner_job,
)

TENSTORRENT = Dialect(
    closed=_without(*PAUSE, *UPLOADS, EVENTS),
    needed_header="X-TT-Organization",
    keeps=NOTHING,
    created_status=201,
    list_key="jobs",
    show_error=_detail,
)

ZHIPU = Dialect(
    closed=_without(*PAUSE, *UPLOADS, CHECKPOINTS),
    keeps=NOTHING,
    ignores_method=True,
)

# Gateways

_LITELLM_NO_JOB = "9 validation errors for LiteLLMFineTuningJob"


def _litellm_job(job: Job, shown: Shown, _: bool) -> Shown:
    # The gateway shows the job of the endpoint behind it, whose method is the one that it did get.
    return {"metadata": None, **shown, "method": job.truth()["method"]}


def _litellm_error(error: ApiError) -> Shown:
    # Of an error of the endpoint behind it, the gateway passes on the message and the param, but neither code nor type.
    own, type = error.error, "internal_server_error"
    message = own["message"] if own["type"] == type else f"Error code: {error.status} - {own['message']}"
    return {"error": {"message": message, "type": type, "param": own["param"], "code": str(error.status)}}


LITELLM = Dialect(
    closed={
        **_without(*UPLOADS),
        **dict.fromkeys(PAUSE, Answer(405, "Method Not Allowed")),
        **dict.fromkeys((EVENTS, CHECKPOINTS), Answer(500, _LITELLM_NO_JOB, "internal_server_error")),
    },
    needs_provider=True,
    keeps=frozenset({"seed", "suffix"}),
    ignores_method=True,
    show_job=_litellm_job,
    show_error=_litellm_error,
)


def _portkey_job(job: Job, shown: Shown, _: bool) -> Shown:
    error: Any = job.error["message"] if job.error else {}
    return {**shown, "created_at": shown["created_at"] * 1000, "error": error}


PORTKEY = Dialect(
    closed=_without(*UPLOADS, EVENTS, CHECKPOINTS),
    any_post_cancels=True,
    keeps=NOTHING,
    show_job=_portkey_job,
)

DIALECTS: dict[Endpoint, Dialect] = {
    "openai": Dialect(),
    "azure": AZURE,
    "bedrock": BEDROCK,
    "nebius": NEBIUS,
    "crusoe": CRUSOE,
    "unsloth": UNSLOTH,
    "llmariner": LLMARINER,
    "tenstorrent": TENSTORRENT,
    "zhipu": ZHIPU,
    "litellm": LITELLM,
    "portkey": PORTKEY,
}
