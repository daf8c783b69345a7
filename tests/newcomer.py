"""Plays a newcomer: clones the repository and follows the README in a shell, with an empty home.

``python -m tests.newcomer`` makes everything from nothing, and runs the demo; it wants a package index and
takes minutes. The commands and files are those of the README, as they stand; only the CSV file is not in there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = Path(".venv", "airflow-3.3.2")
ROWS = 200
#: What a clone's environment needs before the demo; the demo itself has a test of its own.
INSTEAD_OF_DEMO = f"make {ENVIRONMENT}/.project"
#: With a made environment, nothing is downloaded.
WITHOUT_AN_INDEX = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_QUIET": "1"}


def script_of(readme: str) -> str:
    """Return the README's blocks as one script for bash: shell blocks are run, Python blocks are saved.

    :raises ValueError: no sentence before a Python block says what to save it as.
    """
    parts = ["set -euo pipefail", f"printf 'question,answer\\n' > faq.csv; {csv_rows()} >> faq.csv"]
    section, end = "", 0
    for block in re.finditer(
        r"^## (?P<heading>[^\n]+)$|```(?P<language>shell|python)\n(?P<code>.*?)```", readme, re.M | re.S
    ):
        before, end = readme[end : block.start()], block.end()
        if block["heading"]:
            section = block["heading"]
        elif block["language"] == "shell":
            parts += [f"echo; echo {shlex.quote(f'## {section}, after')} $SECONDS s", block["code"]]
        else:
            names = re.findall(r"`([\w/]+\.py)`", before)
            if not names:
                raise ValueError(f"{section!r} does not say what its Python code is saved as")
            parts.append(
                f"mkdir -p $(dirname {names[0]}); cat > {names[0]} <<'END_OF_FILE'\n{block['code']}END_OF_FILE"
            )
    return "\n".join([*parts, "echo; echo Done after $SECONDS s", ""])


def csv_rows() -> str:
    """Return the command that writes the rows of a CSV file."""
    return (
        f"for n in $(seq {ROWS}); do "
        """echo "What does part $n cost?,\\"It costs $((n % 7)) euros, plus shipping.\\""; done"""
    )


def follow(readme: str, folder: Path, environment: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Follow a README in a clone in ``folder``; the output goes to standard output, and is in the result.

    :param environment: a made environment to start with. The demo is left out then, and nothing is downloaded.
    """
    clone, home = folder / "clone", folder / "home"
    home.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    script = script_of(readme)
    kept = ("PIP_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_", "TMPDIR")
    variables = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    own = str(Path(sys.prefix, "bin"))
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if place != own)
    variables |= {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"}
    if environment is not None:
        copy_environment(environment, clone / ENVIRONMENT)
        script = re.sub(r"^make demo$", INSTEAD_OF_DEMO, script, flags=re.M)
        variables |= WITHOUT_AN_INDEX
    output = ""
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=clone,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output += line
    return subprocess.CompletedProcess(script, process.returncode, output)


def copy_environment(made: Path, to: Path) -> None:
    """Copy an environment, by hard links where that is possible, so that its commands use the copy."""

    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    shutil.copytree(made, to, symlinks=True, copy_function=link, ignore=shutil.ignore_patterns(".packages", ".project"))
    for command in (to / "bin").iterdir():
        content = command.read_bytes() if command.is_file() and not command.is_symlink() else b""
        if bytes(made) in content and b"\0" not in content:
            mode = command.stat().st_mode
            command.unlink()  # or the other environment's would change, too
            command.write_bytes(content.replace(bytes(made), bytes(to)))
            command.chmod(mode)
    (to / ".packages").touch()


def main() -> int:
    """Follow this README from nothing; return the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        code = follow((ROOT / "README.md").read_text(encoding="utf-8"), Path(folder)).returncode
    print(f"From the clone to the end: {time.monotonic() - began:.0f} s, exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
