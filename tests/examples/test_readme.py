"""The README, in both languages: what it shows is what the tests run, and what it names is there."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_finetune.datasets import check

ROOT = Path(__file__).parents[2]
README, KOREAN = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))
EXAMPLES = ROOT / "docs" / "examples"
DAG_BLOCK, TEST_BLOCK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", page)


def test_the_dag_and_the_test_are_those_that_the_tests_run() -> None:
    assert (EXAMPLES / "fine_tune.py").read_text() == DAG_BLOCK
    assert (EXAMPLES / "test_fine_tune.py").read_text() == TEST_BLOCK


def test_the_dag_has_twenty_lines_and_its_test_six() -> None:
    assert len([line for line in DAG_BLOCK.splitlines() if line.strip()]) <= 20
    assert len(TEST_BLOCK.splitlines()) == 6


def test_the_line_of_a_training_file_is_one_that_the_check_takes(tmp_path: Path) -> None:
    (line,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert line == (EXAMPLES / "supervised.jsonl").read_text().splitlines(keepends=True)[0]
    question, answer = (message["content"] for message in json.loads(line)["messages"])
    rows = [line.replace(question, f"{question} {n}").replace(answer, f"{answer} {n}") for n in range(10)]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    assert check(tmp_path / "train.jsonl").ok


def test_it_takes_a_screen_and_a_half() -> None:
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("name", ["README.md", "README.ko.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_each_link_leads_to_a_file_of_the_repository(name: str) -> None:
    for link in links((ROOT / name).read_text()):
        if not link.startswith("https://"):
            assert (ROOT / link.partition("#")[0]).is_file(), link


def test_a_package_index_shows_absolute_links_to_pages_of_the_site(readme_of_the_index: str) -> None:
    site = "https://airflow-provider-finetune.readthedocs.io/en/latest/"
    shown = links(readme_of_the_index)
    assert len(shown) == len(links(README)) > 20
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    targets = {f"{page}.html" for page in pages} | {f"_images/{path.name}" for path in (ROOT / "docs").glob("*.png")}
    assert {link.removeprefix(site).partition("#")[0] for link in shown} <= targets


@pytest.fixture
def readme_of_the_index() -> str:
    """The README as the build puts it into the package's metadata."""
    build = [sys.executable, "-m", "hatch_fancy_pypi_readme"]
    return subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8").stdout


class TestTheKoreanReadme:
    def test_it_has_the_same_code(self) -> None:
        blocks = re.compile(r"```\w+\n.*?```", re.DOTALL)
        assert blocks.findall(KOREAN) == blocks.findall(README)

    def test_it_has_the_same_headings_in_the_same_order(self) -> None:
        levels = re.compile(r"^#+(?= )", re.MULTILINE)
        assert levels.findall(KOREAN) == levels.findall(README)

    def test_it_has_the_same_links_and_pictures_in_each_section(self) -> None:
        def by_section(page: str) -> list[list[str]]:
            return [sorted(links(section)) for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]]

        assert by_section(KOREAN) == by_section(README)

    def test_it_has_the_same_files_commands_and_arguments(self) -> None:
        def code(page: str) -> list[list[str]]:
            text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
            return [sorted(re.findall(r"`([^`]+)`", part)) for part in re.split(r"^## ", text, flags=re.MULTILINE)]

        assert code(KOREAN) == code(README)


def test_each_name_in_the_table_of_the_first_page_exists() -> None:
    page = (ROOT / "docs" / "index.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)`: (.*?) \|", page, re.MULTILINE)
    assert len(rows) == 10
    for module, names in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(importlib.import_module(f"airflow_provider_finetune.{module}"), name), name
