"""What importing a provider adds to the parsing of a DAG file: this provider and four official ones, in one run.

    python benchmarks/parse_time.py            # about two minutes

Run it with an Airflow that has the providers installed (`pip install apache-airflow-providers-openai
apache-airflow-providers-anthropic apache-airflow-providers-dbt-cloud apache-airflow-providers-common-ai`); one that is
missing is left out, and so is a module whose optional dependency is not installed. Each import happens in a fresh
process, the providers in turns, so that a busy moment of the machine hits all of them alike. Exits with 1 when a target
is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = "airflow_provider_finetune"
PROVIDERS = {
    "this provider": OURS,
    "common-ai": "airflow.providers.common.ai",
    "dbt-cloud": "airflow.providers.dbt.cloud",
    "openai": "airflow.providers.openai",
    "anthropic": "airflow.providers.anthropic",
}
#: What a DAG file imports of ours beside what the provider registers.
REQUEST_MODELS = f"{OURS}.jobs.request"
FOR_DAG_FILES = [f"{OURS}.operators.job", f"{OURS}.operators.dataset", f"{OURS}.sensors.job", REQUEST_MODELS]
PART = "of it: operators, sensor, request models"
LAZY = "common-ai, its batch operator, decorator and trigger"
HEAVY = ("openai", "numpy", "httpx", "sklearn", "pandas")

# In the process that is measured. Processor time: it is the import's own, however busy the machine is otherwise.
MEASURE = """
import importlib, json, sys, time
import airflow.sdk
known = set(sys.modules)
wall, cpu = time.perf_counter(), time.process_time()
for module in sys.argv[1:]:
    importlib.import_module(module)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
new = set(sys.modules) - known
print(json.dumps([cpu * 1000, wall * 1000, len(new), [name for name in {heavy!r} if name in new]]))
"""

# Hooks are for tasks; everything else that a provider registers is for DAG files.
MODULES = """
import importlib, json, sys
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

def works(module):
    try:
        importlib.import_module(module)
    except AirflowOptionalProviderFeatureException:
        return False
    return True

found = {}
for package in sys.argv[1:]:
    info = importlib.import_module(package + ".get_provider_info").get_provider_info()
    parts = {"dag": [], "hook": []}
    for kind, target in (("operators", "dag"), ("sensors", "dag"), ("triggers", "dag"), ("hooks", "hook")):
        for entry in info.get(kind, ()):
            parts[target] += entry["python-modules"]
    for path in [*info.get("extra-links", ()), *(d["class-name"] for d in info.get("task-decorators", ()))]:
        parts["dag"].append(path.rpartition(".")[0])
    found[package] = {target: list(filter(works, dict.fromkeys(parts[target]))) for target in parts}
print(json.dumps(found))
"""


def run(code: str, *arguments: str, home: str) -> str:
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        "AIRFLOW_HOME": home,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(arguments)}:\n{result.stderr}")
    return result.stdout.splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="fresh processes each (default: %(default)s)")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="airflow-home-") as home:
        installed = {name: package for name, package in PROVIDERS.items() if _is_there(package)}
        modules = json.loads(run(MODULES, *installed.values(), home=home))
        subjects: dict[str, list[str]] = {}
        for name, package in installed.items():
            subjects[name] = modules[package]["dag"] + ([REQUEST_MODELS] if package == OURS else [])
        subjects[PART] = FOR_DAG_FILES
        if "common-ai" in installed:
            subjects[LAZY] = [module for module in subjects["common-ai"] if module.endswith(".llm_batch")]
        subjects["this provider's hook (for tasks only)"] = modules[OURS]["hook"]
        subjects["openai's hook (for tasks only)"] = modules[PROVIDERS["openai"]]["hook"]

        measure = MEASURE.replace("{heavy!r}", repr(HEAVY))
        found: dict[str, list[Any]] = {name: [] for name in subjects}
        for repeat in range(options.repeats + 1):
            for name, imports in subjects.items():
                one = json.loads(run(measure, *imports, home=home))
                if repeat:  # the first only fills the caches: byte code, files
                    found[name].append(one)
    return report(subjects, found)


def report(subjects: dict[str, list[str]], found: dict[str, list[Any]]) -> int:
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    head = ("what", "imports", "CPU ms, median", "(least-most)", "wall ms, median", "modules loaded", "heavy ones")
    rows: list[tuple[str, ...]] = [head]
    middle: dict[str, float] = {}
    for name, runs in found.items():
        cpu, wall = ([one[n] for one in runs] for n in (0, 1))
        middle[name] = statistics.median(cpu)
        spread = f"{min(cpu):.0f}-{max(cpu):.0f}"
        _, _, count, heavy = runs[-1]
        cells = (str(len(subjects[name])), f"{middle[name]:.0f}", spread, f"{statistics.median(wall):.0f}", str(count))
        rows.append((name, *cells, ", ".join(heavy) or "-"))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        print(f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |")

    checks = [
        (f"operators, sensor and request models in 50 ms at most: {middle[PART]:.0f} ms", middle[PART] <= 50),
        ("a DAG file loads neither openai nor numpy", not {"openai", "numpy"} & {*found["this provider"][-1][3]}),
    ]
    if "common-ai" in middle:
        ours, theirs = middle["this provider"], max(middle[LAZY], 30.0)
        checks.append((f"all of ours in no more than common-ai's batch part, or 30 ms: {ours:.0f} ms", ours <= theirs))
    print()
    for text, fine in checks:
        print(f"{'OK    ' if fine else 'MISSED'} {text}")
    return 0 if all(fine for _, fine in checks) else 1


def _is_there(package: str) -> bool:
    try:
        return find_spec(f"{package}.get_provider_info") is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
