"""The formats of a training example, as pydantic models: they decide what a line of a dataset may hold.

``EXAMPLES["supervised"].model_validate(row)`` returns the example or raises pydantic's ``ValidationError``;
:func:`airflow_provider_finetune.datasets.explain.explain` turns that into messages for a person.

Sources: https://platform.openai.com/docs/guides/supervised-fine-tuning, ``…/direct-preference-optimization``,
``…/reinforcement-fine-tuning``, and the chat schema of the API's OpenAPI description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from airflow_provider_finetune.datasets.images import image_fault
from airflow_provider_finetune.datasets.problem import MOST_LOOKED_AT, ErrorKind, Fault, named
from airflow_provider_finetune.datasets.schemas import schema_faults
from airflow_provider_finetune.datasets.turns import Turns
from airflow_provider_finetune.datasets.vendors import VENDORS

Method = Literal["supervised", "dpo", "reinforcement", "completion"]

Checked = TypeVar("Checked")

Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]


def is_json(text: str) -> bool:
    """Return whether a text is JSON, as the arguments of a call must be."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return True


def is_blank(content: Any) -> bool:
    """Return whether the content of a reply says nothing: no text at all, or only blanks."""
    if isinstance(content, str) or content is None:
        return not content or content.isspace()
    return all(is_blank(part.refusal if isinstance(part, RefusalPart) else part.text) for part in content)


def _as_json(text: str) -> str:
    if is_json(text):
        return text
    raise PydanticCustomError(ErrorKind.ARGUMENTS_NOT_JSON, "not JSON")


def _is_weight(value: Any) -> Any:
    if value is None or (type(value) is int and value in (0, 1)):
        return value
    raise PydanticCustomError(ErrorKind.BAD_WEIGHT, "neither 0 nor 1")


def _not_blank(completion: str) -> str:
    if is_blank(completion):
        raise PydanticCustomError(ErrorKind.MISSING_CONTENT, "only blanks")
    return completion


def _is_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return _unless(list(schema_faults(schema)), schema)


def _is_image(url: str) -> str:
    fault = image_fault(url)
    return _unless([fault] if fault else [], url)


ToolName = Annotated[Text, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}\z")]
# An empty name is as good as none.
ParticipantName = Annotated[Text, Field(pattern=r"^[^\s<|\\/>]{0,64}\z")]
JsonText = Annotated[Text, AfterValidator(_as_json)]
JsonSchema = Annotated[dict[str, Any], AfterValidator(_is_schema)]


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# Tags start with "@", so that they can be told from keys in the location of an error.
def _tagged_by(key: str) -> Discriminator:
    def tag(value: Any) -> str | None:
        if isinstance(value, Mapping):
            value = value.get(key)
            return f"@{value}" if isinstance(value, str) else None
        return f"@{getattr(value, key)}" if isinstance(value, _Object) else None

    return Discriminator(tag)


def _content_tag(value: Any) -> str:
    return "@parts" if isinstance(value, Sequence) and not isinstance(value, str) else "@text"


class TextPart(_Object):
    """Text in a list of parts."""

    type: Literal["text"]
    text: Text


class ImageUrl(_Object):
    """Where an image is: a link, or a ``data:`` URL."""

    url: Annotated[Text, Field(min_length=1), AfterValidator(_is_image)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Object):
    """An image in a user's list of parts."""

    type: Literal["image_url"]
    image_url: ImageUrl


class RefusalPart(_Object):
    """A refusal in an assistant's list of parts."""

    type: Literal["refusal"]
    refusal: Text


_TextPart = Annotated[TextPart, Tag("@text")]
_ImagePart = Annotated[ImagePart, Tag("@image_url")]
_RefusalPart = Annotated[RefusalPart, Tag("@refusal")]
_Text = Annotated[Text, Tag("@text")]
# A tag that no value has makes unions of one, so that the errors of all parts and messages are alike.
_TextParts = list[Annotated[_TextPart | Annotated[None, Tag("")], _tagged_by("type")]]
_UserParts = list[Annotated[_TextPart | _ImagePart, _tagged_by("type")]]
_AssistantParts = list[Annotated[_TextPart | _RefusalPart, _tagged_by("type")]]

TextContent = Annotated[_Text | Annotated[_TextParts, Field(min_length=1), Tag("@parts")], Discriminator(_content_tag)]
UserContent = Annotated[_Text | Annotated[_UserParts, Field(min_length=1), Tag("@parts")], Discriminator(_content_tag)]
AssistantContent = Annotated[
    _Text | Annotated[_AssistantParts, Field(min_length=1), Tag("@parts")], Discriminator(_content_tag)
]


class FunctionCall(_Object):
    """A function and the arguments it is called with, as JSON text."""

    name: ToolName
    arguments: JsonText


class ToolCall(_Object):
    """A call of a tool; the result refers to its id, which some endpoints do without."""

    id: Annotated[Text, Field(min_length=1)] | None = None
    type: Literal["function"]
    function: FunctionCall


class SystemMessage(_Object):
    """What the model is told to be."""

    role: Literal["system"]
    content: TextContent
    name: ParticipantName | None = None


class DeveloperMessage(_Object):
    """What the model is told to be, in the words of newer models."""

    role: Literal["developer"]
    content: TextContent
    name: ParticipantName | None = None


class UserMessage(_Object):
    """What the user says or shows."""

    role: Literal["user"]
    content: UserContent
    name: ParticipantName | None = None


class AssistantMessage(_Object):
    """What the model says or calls; with weight 0 it is context and not a lesson."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    name: ParticipantName | None = None
    refusal: Text | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    weight: Annotated[Literal[0, 1] | None, BeforeValidator(_is_weight)] = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantMessage:
        if self.tool_calls or self.function_call or not is_blank(self.content):
            return self
        # An empty reply is refused too, as OpenAI's own checker does.
        raise PydanticCustomError(ErrorKind.MISSING_CONTENT, "neither content nor calls")


class ToolMessage(_Object):
    """The result of a tool call."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: Text
    name: ParticipantName | None = None


class FunctionMessage(_Object):
    """The result of a function call, in the words of older models."""

    role: Literal["function"]
    name: ToolName
    content: Text | None


Message = Annotated[
    Annotated[SystemMessage, Tag("@system")]
    | Annotated[DeveloperMessage, Tag("@developer")]
    | Annotated[UserMessage, Tag("@user")]
    | Annotated[AssistantMessage, Tag("@assistant")]
    | Annotated[ToolMessage, Tag("@tool")]
    | Annotated[FunctionMessage, Tag("@function")],
    _tagged_by("role"),
]
_Reply = Annotated[
    Annotated[AssistantMessage, Tag("@assistant")] | Annotated[ToolMessage, Tag("@tool")], _tagged_by("role")
]
Messages = Annotated[list[Message], Field(min_length=1)]
Replies = Annotated[list[_Reply], Field(min_length=1)]


class FunctionDefinition(_Object):
    """A function that the model may call, with the JSON schema of its arguments."""

    name: ToolName
    description: Text | None = None
    parameters: JsonSchema | None = None
    strict: Flag | None = None


class Tool(_Object):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class _Conversation(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    messages: Messages
    tools: list[Tool] | None = None
    parallel_tool_calls: Flag | None = None
    functions: list[FunctionDefinition] | None = None


class SupervisedExample(_Conversation):
    """A conversation with replies to learn; most endpoints want it to end with one."""

    @model_validator(mode="after")
    def _turns(self) -> SupervisedExample:
        faults = list(islice(_turn_faults(self.messages), MOST_LOOKED_AT))
        faults += _no_assistant(self.messages, "messages")
        return _unless(faults, self)


class PreferenceInput(_Conversation):
    """The conversation that both outputs of a preference answer."""


class PreferenceExample(BaseModel):
    """A conversation with an output to prefer and one to avoid (direct preference optimization)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    input: PreferenceInput
    preferred_output: Replies
    non_preferred_output: Replies

    @model_validator(mode="after")
    def _turns(self) -> PreferenceExample:
        turns = Turns()
        faults = list(islice(turns.follow(self.input.messages, "input.messages"), MOST_LOOKED_AT))
        for name, output in (
            ("preferred_output", self.preferred_output),
            ("non_preferred_output", self.non_preferred_output),
        ):
            reply = turns.copy()
            faults += islice(chain(reply.follow(output, name), reply.end()), MOST_LOOKED_AT)
            faults += _no_assistant(output, name)
        # What the input lacks is found on the way to either output.
        return _unless(list({(fault.kind, fault.path): fault for fault in reversed(faults)}.values())[::-1], self)


class ReinforcementExample(_Conversation):
    """A conversation that ends with the user's turn; further fields are the grader's reference."""

    @model_validator(mode="after")
    def _turns(self) -> ReinforcementExample:
        faults = list(islice(_turn_faults(self.messages), MOST_LOOKED_AT))
        if (last := self.messages[-1].role) != "user":
            place = f"messages[{len(self.messages) - 1}].role"
            expected = "user in the last message, for method reinforcement"
            faults.append(Fault(ErrorKind.LAST_TURN, place, named(last), expected, VENDORS))
        return _unless(faults, self)


class CompletionExample(BaseModel):
    """A prompt and its completion, as compatible servers take it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: Text
    completion: Annotated[Text, Field(min_length=1), AfterValidator(_not_blank)]


Example = SupervisedExample | PreferenceExample | ReinforcementExample | CompletionExample

EXAMPLES: Mapping[Method, type[Example]] = {
    "supervised": SupervisedExample,
    "dpo": PreferenceExample,
    "reinforcement": ReinforcementExample,
    "completion": CompletionExample,
}


def _turn_faults(messages: Sequence[Any]) -> Iterator[Fault]:
    turns = Turns()
    yield from turns.follow(messages, "messages")
    yield from turns.end()


def _no_assistant(messages: Sequence[Any], path: str) -> Iterator[Fault]:
    if not any(message.role == "assistant" for message in messages):
        yield Fault(ErrorKind.NO_ASSISTANT, path, "a list without an assistant message", "at least one")


def _unless(faults: list[Fault], example: Checked) -> Checked:
    if faults:
        # All of them travel in one error: a model's validator can raise only once.
        message = "; ".join(str(fault).replace("{", "(").replace("}", ")") for fault in faults)
        raise PydanticCustomError("faults", message, {"faults": faults})
    return example
