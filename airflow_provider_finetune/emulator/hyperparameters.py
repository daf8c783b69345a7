"""The parameters of a new job: their ranges, and what "auto" becomes once the data is known."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from airflow_provider_finetune.emulator.graders import Grader  # noqa: TC001 - pydantic reads it

_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


def _is_number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _whole(low: int, high: int | None = None) -> PlainValidator:
    def check(value: Any) -> Any:
        if value == "auto" or (_is_number(value, int) and low <= value <= (high or value)):
            return value
        raise ValueError(f'expected "auto" or an integer {f"from {low} to {high}" if high else f">= {low}"}')

    return PlainValidator(check)


def _above(low: float, high: float | None = None) -> PlainValidator:
    def check(value: Any) -> Any:
        if value == "auto" or (_is_number(value, int | float) and low < value <= (high or value)):
            return value
        raise ValueError(f'expected "auto" or a number > {low}{f" and <= {high}" if high else ""}')

    return PlainValidator(check)


class Hyperparameters(BaseModel):
    """What every method takes; parameters of compatible servers (LoRA rank ...) pass through."""

    model_config = ConfigDict(extra="allow")

    n_epochs: Annotated[Any, _whole(1, 50)] = "auto"
    batch_size: Annotated[Any, _whole(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[Any, _above(0)] = "auto"


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[Any, _above(0, 2)] = "auto"


class ReinforcementHyperparameters(Hyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    compute_multiplier: Annotated[Any, _above(1e-5, 10)] = "auto"
    eval_interval: Annotated[Any, _whole(1)] = "auto"
    eval_samples: Annotated[Any, _whole(1)] = "auto"


class Supervised(BaseModel):
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)


class Dpo(BaseModel):
    hyperparameters: DpoHyperparameters = Field(default_factory=DpoHyperparameters)


class Reinforcement(BaseModel):
    grader: Grader
    hyperparameters: ReinforcementHyperparameters = Field(default_factory=ReinforcementHyperparameters)


class Method(BaseModel):
    """A method of training; only the part that `type` names counts."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _part_of_the_type(self) -> Method:
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("type 'reinforcement' needs 'reinforcement' with a grader")
        if self.type == "supervised":
            self.supervised = self.supervised or Supervised()
        if self.type == "dpo":
            self.dpo = self.dpo or Dpo()
        return self

    @property
    def part(self) -> Supervised | Dpo | Reinforcement:
        """The settings of the method that `type` names."""
        part = {"supervised": self.supervised, "dpo": self.dpo, "reinforcement": self.reinforcement}[self.type]
        assert part is not None
        return part

    def as_json(self, resolved: dict[str, Any]) -> dict[str, Any]:
        """Return the method as a job shows it, with hyperparameters as far as they are known."""
        part = self.part.model_dump(exclude={"hyperparameters"}, exclude_none=True)
        return {"type": self.type, self.type: {**part, "hyperparameters": resolved}}


class Wandb(BaseModel):
    model_config = ConfigDict(extra="allow")
    project: str


class Integration(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: Literal["wandb"]
    wandb: Wandb


class CreateJob(BaseModel):
    """The body of `POST /fine_tuning/jobs`; unknown fields are left to compatible servers and ignored."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2147483647, strict=True)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None

    def chosen_method(self) -> Method:
        """Return the method; the deprecated top-level `hyperparameters` count where there is none."""
        if self.method:
            return self.method
        return Method(
            type="supervised", supervised=Supervised(hyperparameters=self.hyperparameters or Hyperparameters())
        )


def resolve(hyperparameters: Hyperparameters, examples: int) -> dict[str, Any]:
    """Return the hyperparameters with every "auto" replaced by a number.

    Epochs follow the vendor's published rule: three, more for fewer than a hundred examples.

    :param examples: lines of the training file.
    """
    chosen = {
        "n_epochs": 3 if examples * 3 >= 100 else min(25, 100 // examples),
        "batch_size": min(256, max(1, round(examples * 0.002))),
        "learning_rate_multiplier": 2.0,
        "beta": 0.1,
        "compute_multiplier": 1.0,
        "eval_interval": 1,
        "eval_samples": 1,
    }
    return {
        name: chosen.get(name, value) if value == "auto" else value
        for name, value in hyperparameters.model_dump().items()
    }
