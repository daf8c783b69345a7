"""What a fine-tuning job is asked for: the body of ``POST /fine_tuning/jobs``, checked before money is spent.

The vocabulary and the limits are the API's
(https://platform.openai.com/docs/api-reference/fine-tuning/create). Compatible servers add hyperparameters of their
own, so fields that are not in the list pass through unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from airflow_provider_finetune.jobs.hyperparameters import HYPERPARAMETERS, misspelt, slip_of
from airflow_provider_finetune.jobs.identity import check_user_metadata


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


# Python takes True for 1: an option of a compatible server under the name of a number.
_NotABool = BeforeValidator(_no_truth_value)
Whole = Annotated[int, _NotABool]
Real = Annotated[float, _NotABool]
Auto = Literal["auto"]
MISPLACED_IN_METHOD = frozenset({"seed", "suffix", "metadata", "n_epochs", "batch_size", "learning_rate_multiplier"})


class _Open(BaseModel):
    # Building validators when they are first used keeps DAG parsing cheap.
    model_config = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())


class SupervisedHyperparameters(_Open):
    """Hyperparameters of supervised fine-tuning; what is left out is the server's choice."""

    n_epochs: Auto | Annotated[Whole, Field(ge=1, le=50)] | None = None
    batch_size: Auto | Annotated[Whole, Field(ge=1, le=256)] | None = None
    learning_rate_multiplier: Auto | Annotated[Real, Field(gt=0)] | None = None


class DpoHyperparameters(SupervisedHyperparameters):
    """Hyperparameters of direct preference optimization."""

    beta: Auto | Annotated[Real, Field(gt=0, le=2)] | None = None


class ReinforcementHyperparameters(SupervisedHyperparameters):
    """Hyperparameters of reinforcement fine-tuning."""

    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Auto | Annotated[Real, Field(gt=1e-5, le=10)] | None = None
    eval_interval: Auto | Annotated[Whole, Field(ge=1)] | None = None
    eval_samples: Auto | Annotated[Whole, Field(ge=1)] | None = None


class SupervisedMethod(_Open):
    """Learn the assistant's replies of chat examples."""

    hyperparameters: SupervisedHyperparameters | None = None


class DpoMethod(_Open):
    """Learn to prefer one reply to another."""

    hyperparameters: DpoHyperparameters | None = None


class ReinforcementMethod(_Open):
    """Learn from the grades that a grader gives.

    ``grader`` is a grader object, as a mapping: the API's (string_check, text_similarity, python, score_model or multi)
    or any other that the endpoint knows. It is sent as it is.
    """

    grader: Mapping[str, Any]
    hyperparameters: ReinforcementHyperparameters | None = None


_METHODS: dict[str, type[_Open]] = {
    "supervised": SupervisedMethod,
    "dpo": DpoMethod,
    "reinforcement": ReinforcementMethod,
}

# Airflow makes a number of the suffix "2024" where it renders templates as native objects.
_TextAgain = BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)
Suffix = Annotated[str, StringConstraints(min_length=1, max_length=64), _TextAgain]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), _TextAgain]
NonEmpty = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def method_body(method: object) -> dict[str, Any] | None:
    """Return the ``method`` part of the request body, the same for every way to write it.

    :param method: one of this module's methods, one of the SDK's (``openai.types.fine_tuning.SupervisedMethod`` …), or
        the API's own mapping ``{"type": "supervised", "supervised": {"hyperparameters": {…}}}``, of whose parts each
        may be such a model too.
    :raises ValueError: a value is out of the API's range, or stands where the API would ignore it.
    """
    if method is None:
        return None
    body = plain(method)
    if not isinstance(body, dict):
        raise ValueError(f"method is a {type(method).__name__}; expected a method model or a mapping")
    name = type(method).__name__.removesuffix("Method").lower()
    if isinstance(method, BaseModel) and "type" not in body and name in _METHODS:
        body = {"type": name, name: body}
    kind = body.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError('method.type is missing; expected "supervised", "dpo" or "reinforcement"')
    check_method_type(kind)
    _refuse_misplaced(body, "method", kind)
    if kind in _METHODS:
        part = body.pop(kind, None) or {}
        if isinstance(part, Mapping):
            _refuse_misplaced(part, f"method.{kind}", kind)
        try:
            settings = _METHODS[kind].model_validate(part).model_dump(exclude_none=True)
        except ValidationError as e:
            raise ValueError(explain(e, inside=("method", kind))) from None
        if settings:
            body[kind] = settings
    return {key: value for key, value in body.items() if value is not None}


def check_method_type(kind: object) -> None:
    """Check that a type of method is not one of the API's, misspelt; other types are left to the endpoint.

    :raises ValueError: it is: an endpoint that ignores it trains supervised, with its defaults.
    """
    if isinstance(kind, str) and kind not in _METHODS and (meant := misspelt(kind, _METHODS)):
        raise ValueError(f"method.type is {kind!r}; did you mean {meant!r}?")


def plain(value: Any) -> Any:
    """Return the value with every pydantic model inside it, ours or the SDK's, as a mapping of what it has set."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True, warnings=False)
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def _refuse_misplaced(part: Mapping[str, Any], place: str, kind: str) -> None:
    # The API ignores what it does not know, and the job would cost what its defaults cost.
    misplaced = MISPLACED_IN_METHOD & part.keys()
    if place == "method":
        misplaced |= {"hyperparameters", *(_METHODS.keys() - {kind})} & part.keys()
    for name in sorted(misplaced):
        if part[name] is not None:
            raise ValueError(
                f"{place}.{name} would be ignored by the API: hyperparameters belong into "
                f"method.{kind}.hyperparameters; seed, suffix and metadata are arguments beside method"
            )


_Plain = BeforeValidator(plain)


class JobRequest(BaseModel):
    """A checked request for a fine-tuning job. ``body()`` is what the SDK's ``jobs.create`` takes."""

    model_config = ConfigDict(extra="forbid", defer_build=True, protected_namespaces=())

    model: NonEmpty
    training_file: NonEmpty
    validation_file: NonEmpty | None = None
    method: dict[str, Any] | None = None
    hyperparameters: Annotated[SupervisedHyperparameters, _Plain] | None = None
    suffix: Suffix | None = None
    seed: Annotated[Whole, Field(ge=0, le=2_147_483_647)] | None = None
    metadata: dict[MetadataKey, MetadataValue] | None = Field(default=None, max_length=16)
    integrations: list[dict[str, Any]] | None = None
    extra_body: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _normalise_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") is not None:
            if values.get("hyperparameters") is not None:
                raise ValueError(
                    "method and hyperparameters are both given; hyperparameters is the API's older argument for "
                    "supervised training, and belongs inside method where there is one"
                )
            return {**values, "method": method_body(values["method"])}
        return values

    @model_validator(mode="after")
    def _reinforcement_needs_validation(self) -> JobRequest:
        if self.method and self.method["type"] == "reinforcement" and not self.validation_file:
            raise ValueError("reinforcement fine-tuning needs a validation_file")
        return self

    def body(self) -> dict[str, Any]:
        """Return the keyword arguments of ``client.fine_tuning.jobs.create``; what is not set is left out."""
        body = {key: value for key, value in self.model_dump().items() if value is not None}
        if self.hyperparameters is not None:
            body["hyperparameters"] = self.hyperparameters.model_dump(exclude_none=True)
        return body

    def asked_hyperparameters(self) -> dict[str, Any]:
        """Return the hyperparameters, wherever the request has them."""
        body = self.body()
        method = body.get("method") or {}
        part = method.get(method.get("type"))
        inside = part.get("hyperparameters") if isinstance(part, Mapping) else None
        return {**body.get("hyperparameters", {}), **(inside if isinstance(inside, Mapping) else {})}

    def fingerprint(self) -> str:
        """Return 16 hex digits that change when anything that shapes the model or the job changes."""
        canonical = json.dumps(self.body(), sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def doubtful_names(request: Mapping[str, Any]) -> list[str]:
    """Return a warning for each name in the request that looks like a slip of the pen for a known one.

    :param request: ``method`` and ``hyperparameters`` of a request, in the API's form, templated or not.
    """
    method = request.get("method")
    kind = method.get("type") if isinstance(method, Mapping) else None
    part = method.get(kind) if isinstance(method, Mapping) and isinstance(kind, str) else None
    found = []
    if isinstance(kind, str) and kind not in _METHODS and (meant := slip_of(kind, _METHODS)):
        found.append(f"method.type {kind!r} is not known; did you mean {meant!r}?")
    places = {
        "hyperparameters": request.get("hyperparameters"),
        f"method.{kind}.hyperparameters": part.get("hyperparameters") if isinstance(part, Mapping) else None,
    }
    for place, given in places.items():
        names = given if isinstance(given, Mapping) else ()
        slips = ((name, meant) for name in names if (meant := slip_of(name, HYPERPARAMETERS)))
        found += [
            f"{place}.{name} is not known; did you mean {meant!r}? Most endpoints ignore a name that they do not know, "
            "and the job is trained, and paid for, with the default."
            for name, meant in slips
        ]
    return found


def check_request(fields: Mapping[str, Any]) -> JobRequest:
    """Return the checked request.

    :param fields: the fields of :class:`JobRequest`; None stands for "not given".
    :raises ValueError: with one line per bad field: where, what was found, and what is expected.
    """
    try:
        return JobRequest.model_validate({key: value for key, value in fields.items() if value is not None})
    except ValidationError as e:
        raise ValueError(explain(e)) from None


def check_literals(fields: Mapping[str, Any]) -> None:
    """Check what is known while the DAG is parsed; what a template or an XCom reference gives is checked when it runs.

    :param fields: the fields of :class:`JobRequest`.
    :raises ValueError: as :func:`check_request`.
    """
    known = {name: value for name, value in fields.items() if not is_templated(value)}
    # Their absence would be an error, and they are not absent.
    templated = {name: "templated" for name in fields.keys() - known.keys() if name.endswith(("model", "_file"))}
    if isinstance(method := fields.get("method"), Mapping):
        check_method_type(method.get("type"))  # known though another part of the method may be templated
    check_user_metadata(known.get("metadata"))
    check_request(known | templated)


def is_templated(value: object) -> bool:
    """Return whether the value, or something inside it, is known only when the task runs."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        # A grader's {{sample.output_text}} is the API's template, not Airflow's.
        return any(is_templated(part) for name, part in value.items() if name != "grader")
    if isinstance(value, (list, tuple)):
        return any(map(is_templated, value))
    return not isinstance(value, (int, float, BaseModel, type(None)))


def explain(error: ValidationError, inside: tuple[str, ...] = ()) -> str:
    """Return pydantic's findings as one line a field, without repeating long input.

    :param inside: where the checked object stands.
    """
    messages: dict[str, list[str]] = {}
    shown: dict[str, str] = {}
    for found in error.errors(include_url=False):
        place = ".".join((*inside, *_path(found["loc"])))
        messages.setdefault(place, []).append(found["msg"].removeprefix("Value error, "))
        if isinstance(found["input"], (str, int, float)):
            shown[place] = f" (found {repr(found['input'])[:60]})"
    return "\n".join(
        f"{place}: {'; or '.join(said)}{shown.get(place, '')}" if place else "; ".join(said)
        for place, said in messages.items()
    )


def _path(location: tuple[str | int, ...]) -> list[str]:
    """Drop pydantic's name for the branch of a union, which means nothing to the reader."""
    path = [str(part) for part in location]
    if path and (
        path[-1] in ("int", "float") or path[-1].startswith(("literal[", "constrained-", "function-", "[key]"))
    ):
        path.pop()
    return path


def without_grader(method: Any) -> tuple[Any, Any]:
    """Return the method without its grader, and the grader; None where there is none."""
    part = method.get("reinforcement") if isinstance(method, Mapping) else None
    if not isinstance(part, Mapping) or "grader" not in part:
        return method, None
    rest = {name: value for name, value in part.items() if name != "grader"}
    return {**method, "reinforcement": rest}, part["grader"]


def with_grader(method: Any, grader: Any) -> Any:
    """Return the method with its grader again."""
    if grader is None or not isinstance(method, Mapping):
        return method
    return {**method, "reinforcement": {**(method.get("reinforcement") or {}), "grader": grader}}
