"""The templates of graders: ``{{sample.output_text}}``, ``{{item.reference}}``.

They are the API's (https://platform.openai.com/docs/guides/graders#templating), which knows paths and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"(item|sample)((?:\.\w+|\[\d+\])+)")
_STEP = re.compile(r"\w+")
OF_A_SAMPLE = ("output_text", "output_json", "output_tools")


class Missing(LookupError):
    """An example has nothing under a name that a grader uses."""


@dataclass(frozen=True)
class Sample:
    """What a model answered.

    :ivar output_text: the text; empty where there is none.
    :ivar output_tools: the tool calls, as the API gives them.
    """

    output_text: str = ""
    output_tools: Sequence[Any] = field(default_factory=tuple)

    @cached_property
    def output_json(self) -> Any:
        """The text read as JSON; None when it is none."""
        try:
            return json.loads(self.output_text)
        except (ValueError, RecursionError):
            return None

    def as_json(self) -> dict[str, Any]:
        """Return what a Python grader is given as ``sample``."""
        names = ("output_text", "output_json", "output_tools")
        return {name: getattr(self, name) for name in names}


def render(template: str, item: Mapping[str, Any], sample: Sample) -> str:
    """Return the template with its variables filled in.

    What an answer lacks is empty: a model may answer anything. Values that are no text are written as JSON.

    :raises Missing: the example has no such field.
    """

    def value(match: re.Match[str]) -> str:
        root, path = _parsed(match[1])
        if root == "item":
            return _written(_found(item, path))
        try:
            return _written(_found(getattr(sample, path[0]), path[1:]))
        except Missing:
            return ""

    return _VARIABLE.sub(value, template)


def check_template(template: str) -> None:
    """Check that all variables of a template are such that can be filled in.

    :raises ValueError: one cannot.
    """
    for root, path in variables(template):
        if root == "sample" and path[0] not in OF_A_SAMPLE:
            known = ", ".join(f"sample.{name}" for name in OF_A_SAMPLE)
            raise ValueError(
                f"{{{{sample.{path[0]}}}}} is not known; expected {known}, or item.<a field of the dataset>"
            )


def variables(template: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the root (``item`` or ``sample``) and the path of each variable.

    :raises ValueError: one has another form.
    """
    for match in _VARIABLE.finditer(template):
        yield _parsed(match[1])


def _parsed(variable: str) -> tuple[str, list[str]]:
    match = _PATH.fullmatch(variable.strip())
    if match is None:
        raise ValueError(
            f"{{{{{variable[:60]}}}}} is not known; expected {{{{item.<field>}}}} or {{{{sample.<field>}}}}: a path of "
            "names, and nothing else"
        )
    return match[1], _STEP.findall(match[2])


def _found(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, (list, tuple)) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Missing(".".join(path))
    return value


def _written(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
