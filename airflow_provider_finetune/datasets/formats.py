"""The formats of a training example, as pydantic models: they decide what a line of a dataset may hold.

``EXAMPLES["supervised"].model_validate(row)`` returns the example or raises pydantic's ``ValidationError``;
:func:`airflow_provider_finetune.datasets.explain.explain` turns that into messages for a person.

Sources: https://platform.openai.com/docs/guides/supervised-fine-tuning, ``…/direct-preference-optimization``,
``…/reinforcement-fine-tuning``, and the chat schema of the API's OpenAPI description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
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

from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, quoted, type_of

Method = Literal["supervised", "dpo", "reinforcement", "completion"]

MOST_IMAGES = 10
JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

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


def _as_json(text: str) -> str:
    if is_json(text):
        return text
    raise PydanticCustomError(ErrorKind.ARGUMENTS_NOT_JSON, "not JSON")


def _is_weight(value: Any) -> Any:
    if value is None or (type(value) is int and value in (0, 1)):
        return value
    raise PydanticCustomError(ErrorKind.BAD_WEIGHT, "neither 0 nor 1")


def _is_schema(schema: dict[str, Any]) -> dict[str, Any]:
    # The lines of a file mostly have the same tools.
    return _unless(list(_schema_faults_of(msgspec.json.encode(schema))), schema)


ToolName = Annotated[Text, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}\z")]
ParticipantName = Annotated[Text, Field(pattern=r"^[^\s<|\\/>]{1,64}\z")]
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

    url: Annotated[Text, Field(min_length=1)]
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
    """A call of a tool; the result refers to its id."""

    id: Annotated[Text, Field(min_length=1)]
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
        if self.content or self.tool_calls or self.function_call:
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
_Reply = Annotated[Annotated[AssistantMessage, Tag("@assistant")] | Annotated[None, Tag("")], _tagged_by("role")]
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
    """A conversation that ends with the reply to learn."""

    @model_validator(mode="after")
    def _turns(self) -> SupervisedExample:
        faults = list(_message_faults(self.messages))
        if not any(message.role == "assistant" for message in self.messages):
            faults.append(Fault(ErrorKind.NO_ASSISTANT, "messages", "without an assistant message", "at least one"))
        elif (last := self.messages[-1].role) != "assistant":
            faults.append(_last_turn(len(self.messages), last, "assistant"))
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
        faults = list(_message_faults(self.input.messages, "input.messages"))
        return _unless(faults, self)


class ReinforcementExample(_Conversation):
    """A conversation that ends with the user's turn; further fields are the grader's reference."""

    @model_validator(mode="after")
    def _turns(self) -> ReinforcementExample:
        faults = list(_message_faults(self.messages))
        if (last := self.messages[-1].role) != "user":
            faults.append(_last_turn(len(self.messages), last, "user"))
        return _unless(faults, self)


class CompletionExample(BaseModel):
    """A prompt and its completion, as compatible servers take it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: Text
    completion: Annotated[Text, Field(min_length=1)]


Example = SupervisedExample | PreferenceExample | ReinforcementExample | CompletionExample

EXAMPLES: Mapping[Method, type[Example]] = {
    "supervised": SupervisedExample,
    "dpo": PreferenceExample,
    "reinforcement": ReinforcementExample,
    "completion": CompletionExample,
}


def _message_faults(messages: Sequence[Any], path: str = "messages") -> list[Fault]:
    """Return what is wrong between messages that are each right: results without calls, too many images."""
    faults: list[Fault] = []
    calls: set[str] = set()
    functions: set[str] = set()
    images = 0
    for i, message in enumerate(messages):
        match message:
            case AssistantMessage():
                calls.update(call.id for call in message.tool_calls or ())
                if message.function_call:
                    functions.add(message.function_call.name)
            case ToolMessage() if message.tool_call_id not in calls:
                found = quoted(message.tool_call_id, 40)
                expected = "the id of a tool call in an assistant message before it"
                faults.append(Fault(ErrorKind.RESULT_WITHOUT_CALL, f"{path}[{i}].tool_call_id", found, expected))
            case FunctionMessage() if message.name not in functions:
                found, expected = (
                    quoted(message.name, 64),
                    "the function of a call in an assistant message before it",
                )
                faults.append(Fault(ErrorKind.RESULT_WITHOUT_CALL, f"{path}[{i}].name", found, expected))
            case UserMessage() if not isinstance(message.content, str):
                images += sum(isinstance(part, ImagePart) for part in message.content)
    if images > MOST_IMAGES:
        found = f"with {images} images"
        faults.append(Fault(ErrorKind.TOO_MANY_IMAGES, path, found, f"at most {MOST_IMAGES} in an example"))
    return faults


@lru_cache(maxsize=128)
def _schema_faults_of(schema: bytes) -> tuple[Fault, ...]:
    value = msgspec.json.decode(schema)
    faults = _schema_faults(value, "")
    if not faults and value.get("type", "object") != "object":
        faults = [Fault(ErrorKind.BAD_VALUE, ".type", "not that of an object", '"object": arguments have names')]
    return tuple(faults)


def _schema_faults(schema: Any, path: str) -> list[Fault]:
    """Return what is wrong with the JSON schema of a tool's arguments, in the keywords that a mistake is likely in."""

    def wrong(key: str, value: Any, expected: str) -> Fault:
        found = quoted(value) if isinstance(value, str) and value else type_of(value)
        return Fault(ErrorKind.BAD_VALUE, f"{path}{key}", found, expected)

    if isinstance(schema, bool):
        return []
    if not isinstance(schema, dict):
        return [wrong("", schema, "a JSON schema")]
    faults: list[Fault] = []
    types = schema.get("type", [])
    if any(name not in JSON_TYPES for name in (types if isinstance(types, list) else [types])):
        faults.append(wrong(".type", types, f"one of {', '.join(JSON_TYPES)}, or a list of them"))
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        faults.append(wrong(".required", required, "a list of names"))
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        faults.append(wrong(".properties", properties, "an object of JSON schemas"))
        properties = {}
    for name, inner in properties.items():
        faults += _schema_faults(inner, f"{path}.properties.{quoted(name, 64)[1:-1]}")
    if "items" in schema and not isinstance(schema["items"], list):
        faults += _schema_faults(schema["items"], f"{path}.items")
    return faults


def _last_turn(count: int, found: str, expected: str) -> Fault:
    return Fault(ErrorKind.LAST_TURN, f"messages[{count - 1}].role", quoted(found), f"{expected} in the last message")


def _unless(faults: list[Fault], example: Checked) -> Checked:
    if faults:
        # All of them travel in one error: a model's validator can raise only once.
        message = "; ".join(str(fault).replace("{", "(").replace("}", ")") for fault in faults)
        raise PydanticCustomError("faults", message, {"faults": faults})
    return example
