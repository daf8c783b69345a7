"""What people have becomes examples, without a guess, a loss, or a file written over."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import SECRET, TOOLS, checked
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset_corruption import quick as thorough

from airflow_provider_finetune.datasets import Columns, Conversion, Limits, Rules
from airflow_provider_finetune.datasets.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


def system(text: Any) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [*messages], **fields}


def pair(given: list[dict[str, Any]], preferred: str, other: str) -> dict[str, Any]:
    return {
        "input": {"messages": given},
        "preferred_output": [assistant(preferred)],
        "non_preferred_output": [assistant(other)],
    }


CALL = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ShareGPT": (
        {"id": 7, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        chat(user("q"), assistant("a")),
    ),
    "ShareGPT with system and weights": (
        {
            "system": "s",
            "conversations": [
                {"from": "user", "value": "q"},
                {"from": "chatgpt", "value": "a", "weight": 0},
                {"from": "human", "value": "q2"},
                {"from": "assistant", "value": "a2"},
            ],
        },
        chat(system("s"), user("q"), assistant("a") | {"weight": 0}, user("q2"), assistant("a2")),
    ),
    "ShareGPT with roles": (
        {"conversations": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, assistant("a")]},
        chat(system("s"), user("q"), assistant("a")),
    ),
    "ShareGPT preference": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        pair([user("q")], "good", "bad"),
    ),
    "Alpaca": ({"instruction": "do", "input": "x", "output": "y"}, chat(user("do\n\nx"), assistant("y"))),
    "Alpaca without input": ({"instruction": "do", "input": "", "output": "y"}, chat(user("do"), assistant("y"))),
    "Alpaca with history": (
        {"instruction": "do", "output": "y", "system": "s", "history": [["q", "a"]]},
        chat(system("s"), user("q"), assistant("a"), user("do"), assistant("y")),
    ),
    "Dolly": (
        {"instruction": "do", "context": "x", "response": "y", "category": "qa"},
        chat(user("do\n\nx"), assistant("y")),
    ),
    "prompt and completion": (
        {"prompt": "q\n\n###\n\n", "completion": " a END"},
        chat(user("q\n\n###\n\n"), assistant(" a END")),
    ),
    "prompt and completion of messages": (
        {"prompt": [system("s"), user("q")], "completion": [assistant("a")], "tools": TOOLS},
        chat(system("s"), user("q"), assistant("a"), tools=TOOLS),
    ),
    "preference of texts": ({"prompt": "q", "chosen": "good", "rejected": "bad"}, pair([user("q")], "good", "bad")),
    "preference with system": (
        {"system": "s", "question": "q", "chosen": "good", "rejected": "bad"},
        pair([system("s"), user("q")], "good", "bad"),
    ),
    "preference of messages": (
        {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        pair([user("q")], "good", "bad"),
    ),
    "preference whose outputs begin with the prompt": (
        {"prompt": "q", "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        pair([user("q")], "good", "bad"),
    ),
    "preference without a prompt of its own": (
        {"chosen": [system("s"), user("q"), assistant("good")], "rejected": [system("s"), user("q"), assistant("bad")]},
        pair([system("s"), user("q")], "good", "bad"),
    ),
    "Alpaca preference": (
        {"instruction": "do", "input": "x", "chosen": "good", "rejected": "bad"},
        pair([user("do\n\nx")], "good", "bad"),
    ),
    "Bedrock": (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "s"}],
            "messages": [
                {"role": "user", "content": [{"text": "q"}]},
                {"role": "assistant", "content": [{"text": "a"}]},
            ],
        },
        chat(system("s"), user("q"), assistant("a")),
    ),
    "Gemini": (
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "q"}, {"text": "q2"}]},
                {"role": "model", "parts": [{"text": "a"}]},
            ],
        },
        chat(system("s"), user([{"type": "text", "text": "q"}, {"type": "text", "text": "q2"}]), assistant("a")),
    ),
    "Cohere": (
        {"messages": [{"role": "User", "content": "q"}, {"role": "Chatbot", "content": "a"}]},
        chat(user("q"), assistant("a")),
    ),
    "batch request with an answer": (
        {"custom_id": "1", "method": "POST", "url": "/v1", "body": chat(user("q"), assistant("a"), model="m")},
        chat(user("q"), assistant("a")),
    ),
    "chat": (
        chat(user("q"), {"role": "assistant", "tool_calls": [CALL]}, tools=TOOLS, id=7, source="x"),
        chat(user("q"), {"role": "assistant", "tool_calls": [CALL]}, tools=TOOLS),
    ),
    "preference": (pair([user("q")], "good", "bad") | {"score": 1}, pair([user("q")], "good", "bad")),
    "reinforcement": (chat(user("q"), answer=7, why={"a": 1}), chat(user("q"), answer=7, why={"a": 1})),
}


def converted(*rows: Any, **options: Any) -> tuple[list[Any], Conversion]:
    conversion = Conversion(**options)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return [json.loads(line) for line in conversion.lines([content])], conversion


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_record_becomes_the_example_that_it_is(name: str) -> None:
    record, example = EXAMPLES[name]
    examples, conversion = converted(record, record)
    assert conversion.problems == []
    assert examples == [example, example]
    content = "".join(json.dumps(each) + "\n" for each in examples).encode()
    report = checked(content, str(conversion.method), limits=Limits(min_examples=1))
    assert report.ok
    assert set(conversion.left_out) == record.keys() & {"id", "source", "category", "score"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"question": SECRET, "answer": SECRET}, 'fields of unknown meaning ("question", "answer"); name them'),
        ({}, "fields of unknown meaning (none)"),
        ([SECRET], "no JSON object"),
        ({"text": SECRET}, "a plain text"),
        ({"prompt": SECRET, "completion": SECRET, "label": False}, "with a label"),
        ({"conversations": [{"from": "tool", "value": SECRET}]}, "a turn without text, or from another"),
        ({"conversations": [{"from": ["gpt"], "value": SECRET}]}, "a turn without text, or from another"),
        ({"conversations": [{"from": "human", "value": 7}]}, "a turn without text"),
        ({"conversations": [], "tools": "[{}]"}, "with tools"),
        ({"conversations": []}, "would be no example: messages is empty"),
        ({"instruction": SECRET, "output": ""}, "would be no example: messages[1].content is empty"),
        ({"prompt": SECRET, "completion": "  "}, "messages[1].content is blank"),
        ({"prompt": SECRET, "chosen": SECRET, "rejected": SECRET}, "equal to preferred_output"),
        ({"chosen": SECRET, "rejected": "x"}, "no prompt"),
        ({"prompt": "x", "chosen": [user("y"), assistant("a")], "rejected": [user("y"), assistant("b")]},
         "another conversation than the prompt"),
        ({"prompt": "x", "chosen": [user("y")], "rejected": [assistant("b")]}, "outputs that are not the assistant's"),
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, "no list of messages"),
        ({"prompt": [{"role": ["user"]}], "chosen": "a", "rejected": "b"}, "no list of messages"),
        ({"contents": [{"role": "user", "parts": [{"inlineData": {}}]}]}, "parts that are not plain text"),
        ({"contents": [{"parts": []}]}, "without a known role"),
        ({"custom_id": "1", "body": chat(user(SECRET))}, "which holds no answer"),
        ({"custom_id": "1", "body": {"input": SECRET}}, "no list of messages"),
        ({"custom_id": "1", "response": {}}, "an answer of the Batch API"),
        (chat(user(SECRET)), "messages is a list without an assistant message"),
        (chat(user(SECRET), assistant("\ud800")), "half a surrogate pair"),
    ],
)  # fmt: skip
def test_what_would_have_to_be_guessed_is_refused(record: Any, reason: str) -> None:
    examples, conversion = converted(record)
    assert examples == []
    assert conversion.refused == 1
    assert reason in conversion.problems[0]
    assert SECRET not in conversion.problems[0]


def test_each_refused_record_is_named_with_its_number() -> None:
    good, empty = {"prompt": "q", "completion": "a"}, {"prompt": "q", "completion": ""}
    _, conversion = converted(good, empty, good, empty, *[empty] * 40)
    assert conversion.problems[0].startswith("record 2 would be no example")
    assert conversion.problems[1].startswith("record 4 ")
    assert (len(conversion.problems), conversion.refused) == (20, 42)


def test_all_examples_are_for_one_method() -> None:
    _, conversion = converted({"prompt": "q", "completion": "a"}, {"prompt": "q", "chosen": "a", "rejected": "b"})
    assert conversion.problems == ["record 2: an example for method dpo among those for supervised"]
    _, conversion = converted({"prompt": "q", "completion": "a"}, method="dpo")
    assert conversion.problems == ["record 1: an example for method supervised among those for dpo"]


def test_the_rules_of_the_endpoint_hold_for_what_is_made() -> None:
    asked = {"conversations": [{"from": who, "value": "x"} for who in ("human", "gpt", "human")]}
    assert len(converted(asked)[0]) == 1
    _, conversion = converted(asked, rules=Rules("openai"))
    assert "assistant in the last message" in conversion.problems[0]


# -- columns


CSV = 'question,answer,topic,id\n"Is 7, or\n""8"", odd?",7,maths,1\nÜber?,"ja ",,2\n\n"x",y,z,3\n'
ROWS = [('Is 7, or\n"8", odd?', "7", "maths"), ("Über?", "ja ", ""), ("x", "y", "z")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_columns_of_csv_become_chats(encoding: str, ending: str, delimiter: str, chunk: int) -> None:
    columns = Columns(user="question", assistant="answer", system="topic")
    conversion = Conversion(columns=columns, encoding=encoding if encoding == "cp1252" else None)
    content = (
        CSV.replace(",", delimiter).replace(f"Is 7{delimiter} or", "Is 7, or").replace(f'"8""{delimiter}', '"8"",')
    )
    content = content.replace("\n", ending)
    raw = content.encode(encoding)
    lines = list(conversion.lines(raw[i : i + chunk] for i in range(0, len(raw), chunk)))
    assert conversion.problems == []
    assert [json.loads(line) for line in lines] == [
        chat(*[system(topic)] * bool(topic), user(question.replace("\n", ending)), assistant(answer))
        for question, answer, topic in ROWS
    ]
    assert conversion.left_out == {"id": 3}


def test_columns_make_preferences_and_a_system_message_goes_with_all() -> None:
    content = b"q;good;bad\n1?;yes;no\n2?;no;yes\n"
    conversion = Conversion(columns=Columns(user="q", chosen="good", rejected="bad", instructions="Be brief."))
    examples = [json.loads(line) for line in conversion.lines([content])]
    assert examples == [
        pair([system("Be brief."), user("1?")], "yes", "no"),
        pair([system("Be brief."), user("2?")], "no", "yes"),
    ]
    assert conversion.method == "dpo"


def test_fields_of_json_objects_can_be_named_too() -> None:
    columns = Columns(user="question", assistant="answer")
    examples, conversion = converted({"question": "q", "answer": "a", "id": 1}, columns=columns)
    assert examples == [chat(user("q"), assistant("a"))]
    _, conversion = converted({"question": "q", "answer": 7}, columns=columns)
    assert conversion.problems == ['record 1: "answer" holds no text']


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b\n1,2\n", 'record 1: no column "question"; there are "a", "b"'),
        (b"question,answer\n1,2\n1,2,3\n", "record 2 (line 3) has 3 cells, and the header 2"),
        (b"question,question\n1,2\n", "two columns of the CSV file have the same name"),
        (b"question,answer\n1,2\n1,\"2\n\n", "record 2 (line 4) is no CSV"),
        (b"question,answer\n1,2\n1,\xfc\n", "not UTF-8 near byte 23; say which encoding it has with --input-encoding"),
        (b"question,answer\n", "neither JSON nor a CSV file whose delimiter can be told"),
        (b"", "neither JSON nor"),
        (b"question,answer\n1,\n", "record 1 would be no example"),
    ],
)  # fmt: skip
def test_a_csv_file_that_cannot_be_read_is_refused(content: bytes, problem: str) -> None:
    conversion = Conversion(columns=Columns(user="question", assistant="answer"))
    list(conversion.lines([content]))
    assert conversion.problems[0].startswith(problem)


@pytest.mark.parametrize(
    "columns",
    [
        {"user": "a"},
        {"assistant": "a"},
        {"user": "a", "chosen": "b"},
        {"user": "a", "assistant": "b", "chosen": "c", "rejected": "d"},
        {"system": "a"},
        {"user": "a", "assistant": "b", "system": "c", "instructions": "d"},
    ],
)
def test_columns_that_make_no_example_are_refused(columns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"column|expected"):
        Columns(**columns)


def test_a_system_message_does_not_replace_the_one_that_is_there() -> None:
    _, conversion = converted(chat(system("s"), user("q"), assistant("a")), columns=Columns(instructions="other"))
    assert conversion.problems == ["record 1: it has a system message of its own"]


# -- bytes


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"prompt": "q", "completion": "a"}', "the JSON array is cut off"),
        (b'[{"prompt": "q",\n "completion": "a"}] []', "something behind the end of the JSON array"),
        (b'{"prompt": "q", "completion": "a"}\n{"prompt": "q", "comp', "record 2 is cut off"),
        (b'{"prompt": "q", "completion": "a"}\n{"prompt": q}', "record 2 is not JSON at its character 12"),
        (b'{"prompt": "q", "prompt": "p", "completion": "a"}', "record 1 has a key twice in an object"),
        (b'{"prompt": "q", "completion": "a", "x": NaN}', "record 1 has NaN or an infinite number"),
        (b'{"prompt": "q", "completion": "a", "x": ' + b"9" * 5000 + b"}", "record 1 has a number too long"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "record 1 has a number too long or values too deep"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], "a gzip file that is cut off"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:12] + b"xxxx" * 9, "a gzip file that is damaged"),
        (b"\xff\xfe{\x00", "fields of unknown"),
    ],
)  # fmt: skip
def test_bytes_that_cannot_be_read_are_refused(content: bytes, problem: str) -> None:
    if problem == "fields of unknown":
        content, problem = '{"a": 1}'.encode("utf-16"), "record 1: fields of unknown meaning"
    conversion = Conversion()
    list(conversion.lines([content]))
    assert conversion.problems[-1].startswith(problem)


@settings(thorough, max_examples=150)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=8),
    chunk=st.integers(1, 50),
    join=st.sampled_from(["\n", "\r", "", " ", ",", ",\n", "array"]),
    indent=st.sampled_from([None, 1]),
    ensure_ascii=st.booleans(),
)
def test_the_records_do_not_depend_on_how_they_are_written_or_cut(
    texts: list[str], chunk: int, join: str, indent: int | None, ensure_ascii: bool
) -> None:
    rows = [{"prompt": text, "completion": f"{text}!", "x": [True, None, -1.5e3, {"y": text}]} for text in texts]
    if join == "array":
        content = json.dumps(rows, indent=indent, ensure_ascii=ensure_ascii)
    else:
        content = join.join(json.dumps(row, indent=indent, ensure_ascii=ensure_ascii) for row in rows)
    raw = content.encode()
    conversion = Conversion()
    lines = list(conversion.lines(raw[i : i + chunk] for i in range(0, len(raw), chunk)))
    assert conversion.problems == []
    assert [json.loads(line) for line in lines] == [chat(user(text), assistant(f"{text}!")) for text in texts]


def test_a_large_file_is_converted_without_holding_it() -> None:
    code = """
import gzip, io, json, resource, sys
from airflow_provider_finetune.datasets import Conversion
record = json.dumps({"prompt": "q" * 5000, "completion": "a" * 5000}).encode()
def chunks():
    yield b"["
    for n in range(20_000):
        yield b", " * bool(n) + record
    yield b"]"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
written = sum(len(line) for line in Conversion().lines(chunks()))
print(written > 200_000_000, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert out[0] == "True"
    assert int(out[1]) < 30


# -- the command


@pytest.fixture
def faq(tmp_path: Path) -> Path:
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\n" + "".join(f"Is {n} odd?,{n % 2 == 1}\n" for n in range(12)))
    return path


NAMED = ["--user-column", "question", "--assistant-column", "answer"]


def test_the_command_makes_a_file_that_passes_the_check(
    faq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "train.jsonl"
    assert main(["convert", str(faq), str(output), *NAMED, "--system", "Be brief."]) == 0
    assert "12 examples for method supervised" in capsys.readouterr().err
    assert main(["check", str(output), "--for", "openai"]) == 0
    assert output.stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o22)) or output.stat().st_mode & 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faq.csv", "train.jsonl"]


def test_a_file_that_is_there_is_replaced_only_when_told(
    faq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "train.jsonl"
    output.write_text("precious")
    assert main(["convert", str(faq), str(output), *NAMED]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert main(["convert", str(faq), str(output), *NAMED, "--overwrite"]) == 0
    assert output.read_text().count("\n") == 12
    # Also when it is the file that is read.
    assert main(["convert", str(output), str(output)]) == 2
    assert main(["convert", str(output), str(output), "--overwrite"]) == 0
    assert output.read_text().count("\n") == 12


def test_a_refused_file_leaves_nothing_behind_and_replaces_nothing(
    faq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faq.write_text(faq.read_text() + "and?,\n" * 9)
    output = tmp_path / "train.jsonl"
    assert main(["convert", str(faq), str(output), *NAMED]) == 1
    said = capsys.readouterr().err
    assert "record 13 would be no example" in said
    assert "... and 4 more" in said
    assert "nothing is converted" in said
    output.write_text("precious")
    assert main(["convert", str(faq), str(output), *NAMED, "--overwrite"]) == 1
    assert output.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faq.csv", "train.jsonl"]


def test_the_command_reads_and_writes_pipes(faq: Path) -> None:
    command = [sys.executable, "-m", "airflow_provider_finetune.datasets", "convert", "-", "-", *NAMED]
    done = subprocess.run(command, input=faq.read_bytes(), capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 12
    assert b"standard input: a CSV file, 12 examples" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--user-column", "question"],
        ["--delimiter", "ab"],
        ["--input-encoding", "nonsense"],
        ["--allow", "nonsense"],
        ["--for", "nobody"],
        ["--max-line-bytes", "0"],
    ],
)
def test_options_that_make_no_sense_are_errors(faq: Path, tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["convert", str(faq), str(tmp_path / "out.jsonl"), *options])
    assert raised.value.code == 2


def test_a_file_that_is_not_there_or_a_folder_that_is_not_there_exits_with_2(
    faq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(tmp_path / "nowhere.csv"), str(tmp_path / "out.jsonl")]) == 2
    assert "nowhere.csv: No such file" in capsys.readouterr().err
    assert main(["convert", str(faq), str(tmp_path / "nowhere" / "out.jsonl"), *NAMED]) == 2
    assert "nowhere" in capsys.readouterr().err
