"""The built wheel, away from the sources: what is in it, that it imports, what Airflow sees of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import airflow_provider_finetune as package
names = [module.name for module in pkgutil.walk_packages(package.__path__, "airflow_provider_finetune.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps({"file": package.__file__, "names": names}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        yield wheel


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("installed")
    wheel.extractall(folder)
    return folder


def run(installed: Path, *command: str) -> str:
    """Run Python with the installed wheel before everything else, away from the sources; return its stdout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command], cwd=installed, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_it_is_the_same_wherever_and_whenever_it_is_built(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    shutil.copytree(
        ROOT / "airflow_provider_finetune", copy / "airflow_provider_finetune", copy_function=shutil.copyfile
    )
    for path in copy.rglob("*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o700 if path.is_dir() else 0o600)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, "TZ": "Pacific/Auckland"})
    (again,) = tmp_path.glob("*.whl")
    assert wheel.filename is not None
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(Path(wheel.filename).read_bytes()).digest()


def test_it_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    info = "airflow_provider_finetune-0.1.0.dist-info"
    assert {name.split("/")[0] for name in names} == {"airflow_provider_finetune", info}
    packaged = {name for name in names if not name.startswith(info)}
    sources = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "airflow_provider_finetune"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert packaged == set(sources.stdout.split())
    assert "airflow_provider_finetune/py.typed" in packaged
    static = [file for file in wheel.infolist() if file.filename.startswith("airflow_provider_finetune/ui/")]
    assert {"page.html", "plugin.js", "ui.css"} <= {file.filename.rpartition("/")[2] for file in static}
    assert sum(file.file_size for file in static) <= 60_000
    assert f"{info}/licenses/LICENSE" in names


def test_every_module_of_it_imports(installed: Path) -> None:
    found = json.loads(run(installed, "-c", IMPORT_ALL).splitlines()[-1])
    assert Path(found["file"]).is_relative_to(installed)
    assert "airflow_provider_finetune.operators.job" in found["names"]
    assert "airflow_provider_finetune.emulator.app" in found["names"]


def test_airflow_sees_hook_operators_sensor_trigger_and_link(installed: Path) -> None:
    out = run(installed, "-m", "airflow", "providers", "get", "airflow-provider-finetune", "--full", "--output", "json")
    shown = out[out.index("[") :]
    for part in ("hooks.fine_tuning", "operators.job", "operators.dataset", "sensors.job", "triggers.job"):
        assert f"airflow_provider_finetune.{part}" in shown
    assert "airflow_provider_finetune.links.FineTuningJobLink" in shown


def test_the_page_of_providers_links_to_our_documentation(installed: Path) -> None:
    script = """
from airflow.providers_manager import ProvidersManager
print(ProvidersManager().providers["airflow-provider-finetune"].data["documentation-url"])
"""
    assert run(installed, "-c", script).split()[-1] == "https://airflow-provider-finetune.readthedocs.io"


def test_everything_that_airflow_is_told_of_exists(installed: Path) -> None:
    script = """
import importlib
from airflow_provider_finetune.get_provider_info import get_provider_info
info = get_provider_info()
for kind in ("hooks", "operators", "sensors", "triggers"):
    for entry in info[kind]:
        for module in entry["python-modules"]:
            importlib.import_module(module)
for link in info["extra-links"]:
    module, name = link.rsplit(".", 1)
    getattr(importlib.import_module(module), name)
"""
    run(installed, "-c", script)
