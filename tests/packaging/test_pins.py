"""What is installed for the tests is pinned, and each pin has the hashes of its files."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
HASHED = sorted((REQUIREMENTS / "hashes").iterdir())
_PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[a-z0-9,_-]+\])?==([^\s;\\]+)")
_HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}( \\)?")


def pins(path: Path) -> dict[str, str]:
    """The versions of a file of requirements, by the normal form of the names."""
    found = [_PIN.match(line) for line in path.read_text().splitlines() if line[:1] not in ("", "#", " ")]
    assert all(found), "every line is a pin"
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[3] for pin in found if pin}


def test_every_file_of_pins_has_its_file_of_hashes() -> None:
    assert {path.name for path in HASHED} == {path.name for path in REQUIREMENTS.glob("*.txt")}


@pytest.mark.parametrize("path", HASHED, ids=[path.name for path in HASHED])
def test_the_hashes_are_those_of_the_pins(path: Path) -> None:
    assert pins(path) == pins(REQUIREMENTS / path.name), "run `make pins`"
    lines = path.read_text().splitlines()
    assert all(_PIN.match(line) or _HASH.fullmatch(line) for line in lines), "nothing else, such as an index"
    # The hashes of a pin follow it, in lines that go on.
    assert all(_HASH.fullmatch(following) for line, following in pairwise(lines) if line.endswith("\\"))
    assert all(line.endswith("\\") for line in lines if _PIN.match(line)), "every pin has a hash"


def test_make_installs_by_hashes_only() -> None:
    recipes = (REQUIREMENTS.parent / "Makefile").read_text()
    installs = [line for line in recipes.splitlines() if "pip install" in line and "--editable" not in line]
    assert len(installs) == 1, "of packages; the others use it"
    assert "--require-hashes" in installs[0]
