"""Good datasets in every format and style of writing, made from a few drawn texts."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from airflow_provider_finetune.datasets import DatasetChecker, DatasetReport, Limits, Rules

#: Is in every text, and must be in no report.
SECRET = "s3cr3t-training-text"

#: Of all vendors the one that refuses most.
OPENAI = Rules("openai")

texts = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: f"{SECRET}{text}")


@dataclass(frozen=True)
class Style:
    """How a file is written."""

    separators: tuple[str, str]
    ensure_ascii: bool
    ending: bytes
    has_last_ending: bool = True

    def line(self, row: Any) -> bytes:
        return json.dumps(row, separators=self.separators, ensure_ascii=self.ensure_ascii).encode()

    def file(self, lines: list[bytes]) -> bytes:
        return self.ending.join(lines) + (self.ending if self.has_last_ending else b"")


styles = st.builds(
    Style,
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]),
    ensure_ascii=st.booleans(),
    ending=st.sampled_from([b"\n", b"\r\n"]),
)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def call(n: int, text: str = "Oslo") -> dict[str, Any]:
    arguments = json.dumps({"city": text})
    return {"id": f"call_{n}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def chat(random: random.Random, n: int, text: str, *, ends_with: str = "assistant") -> dict[str, Any]:
    """One conversation of some shape; `n` keeps it apart from the others of a file."""
    messages: list[dict[str, Any]] = []
    if random.random() < 0.5:
        messages.append({"role": random.choice(["system", "developer"]), "content": text})
    for turn in range(random.randint(1, 3)):
        content: Any = f"{text} {n} {turn}?"
        if random.random() < 0.1:
            image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
            content = [{"type": "text", "text": content}, image]
        messages.append({"role": "user", "content": content})
        if random.random() < 0.2:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call(turn, text)]})
            messages.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": text})
        answer: dict[str, Any] = {"role": "assistant", "content": f"{n} {turn} {text}"}
        if random.random() < 0.2:
            answer["weight"] = 1
        messages.append(answer)
    if ends_with == "user":
        messages.pop()
        while messages[-1]["role"] != "user":
            messages.pop()
    row: dict[str, Any] = {"messages": messages}
    if random.random() < 0.2:
        row["tools"] = TOOLS
    return row


def good_row(method: str, random: random.Random, n: int, text: str) -> dict[str, Any]:
    match method:
        case "supervised":
            return chat(random, n, text)
        case "reinforcement":
            return chat(random, n, text, ends_with="user") | {"answer": n, "why": text}
        case "dpo":
            preferred, other = ({"role": "assistant", "content": f"{text} {n} {side}"} for side in "ab")
            asked = chat(random, n, text, ends_with="user")
            return {"input": asked, "preferred_output": [preferred], "non_preferred_output": [other]}
    return {"prompt": f"{n} {text}", "completion": f"{text} {n}"}


@st.composite
def good_rows(draw: st.DrawFn, method: str = "supervised", *, fewest: int = 4) -> list[dict[str, Any]]:
    """Rows of two shapes in turn, as files have them: the checker learns how lines are written from those before."""
    seed = draw(st.integers(0, 2**32))
    drawn = draw(texts), f"{SECRET} plain"
    count = fewest + seed % 4
    return [good_row(method, random.Random(seed + n % 2), n, drawn[n % 3 == 0]) for n in range(count)]


def checked(content: bytes, method: str = "supervised", *, chunk: int = 1 << 20, **more: Any) -> DatasetReport:
    """The report on a file that arrives in chunks, together with a validation file where one is needed."""
    limits, rules = more.pop("limits", Limits()), more.pop("rules", Rules())
    checker = DatasetChecker("train.jsonl", method, tokens="estimate", limits=limits, rules=rules)
    for start in range(0, len(content), chunk):
        checker.feed(content[start : start + chunk])
    return checker.finish(is_complete=False, **more)
