"""The demo: a real Airflow trains a model on the emulator, measures it, makes it the champion, and lets a DAG use it.

Then it trains a second model, on wrong labels, which must not become the champion. Nothing is left behind, however the
demo ends; the exit code is 0 when it went as promised.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

from airflow_provider_finetune.emulator import running
from airflow_provider_finetune.plural import counted
from demo.standalone import FINISHED, AirflowTrouble, Standalone
from demo.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_finetune.emulator import Emulator

DAG_ID = "retrain_and_promote"
SERVING = "serve_airflow_config"
#: The second job need not show how a wait looks.
SECONDS_OF_SECOND_JOB = 8.0
DAGS = Path(__file__).parents[1] / "example_dags"
SECONDS_TO_RUN = 600.0
WIDTH_OF_BAR = 24
STATES = {
    "running": "cyan",
    "deferred": "yellow",
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
    "skipped": "dim",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--ui", action="store_true", help="leave Airflow running at the end, until Ctrl-C")
    parser.add_argument("--job-seconds", type=float, default=20, help="how long the training takes (default: 20)")
    options = parser.parse_args(arguments)
    terminal = Terminal()
    # A shell starts what runs in its background with Ctrl-C ignored, and so would everything that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return Demo(terminal, options.job_seconds, options.ui).run()
    except KeyboardInterrupt:
        terminal.line("\nStopped; nothing is left running.")
        return 128 + signal.SIGINT
    except AirflowTrouble as trouble:
        terminal.line(terminal.paint(f"\n{trouble}", "red"))
        return 1


class Demo:
    """Two runs of the retraining DAG, watched through Airflow's REST API.

    :param job_seconds: how long the first training takes.
    :param stays: whether Airflow goes on running afterwards.
    """

    def __init__(self, terminal: Terminal, job_seconds: float, stays: bool) -> None:
        self.terminal = terminal
        self.job_seconds = job_seconds
        self.stays = stays
        self.states: dict[str, str] = {}
        self.held: defaultdict[str, float] = defaultdict(float)

    def run(self) -> int:
        """Run it; return the exit code."""
        say = self.terminal
        say.line(say.paint("A real Airflow fine-tunes a model on a local server of the API.", "bold"))
        say.line(
            "No account, no key, no network: the server trains a small classifier, and what it answers is learned.\n"
        )
        with ExitStack() as stack:
            emulator = stack.enter_context(running(job_seconds=self.job_seconds))
            say.line(f"  endpoint  {emulator.base_url}")
            say.live("airflow   starting scheduler, triggerer, DAG processor and API server ...")
            env = {
                "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
                "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "httpx=WARNING httpx2=WARNING",
            }
            airflow = stack.enter_context(Standalone(DAGS, env))
            say.line(f"  airflow   {airflow.url}  (healthy after {say.clock().strip()})")
            # Not in the environment, whose connections Airflow's UI does not show.
            connection = {"connection_id": "openai_default", **json.loads(emulator.connection)}
            airflow.api("POST", "/connections", connection)
            client = stack.enter_context(openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key))
            code = self._train_twice(airflow, emulator, client)
            if self.stays:
                say.line(f"\nAirflow goes on at {say.paint(airflow.url, 'bold')} until you press Ctrl-C.")
                try:
                    signal.pause()
                except KeyboardInterrupt:
                    say.line("\nStopping ...")
                    return code
            say.live("stopping Airflow and the endpoint ...")
        say.line(say.paint(f"\nDone in {say.clock().strip()}; nothing is left running.", "dim"))
        return code

    def _train_twice(self, airflow: Standalone, emulator: Emulator, client: openai.OpenAI) -> int:
        """Train a good model and a bad one; return the exit code."""
        conf = {"folder": str(airflow.home / "dataset"), "approve": False}
        run_id = airflow.trigger(DAG_ID, conf)
        self.terminal.title(f"{DAG_ID}, {run_id}")
        if self._watch(airflow, client, run_id) != "success":
            return self._explain(airflow, run_id)
        kept_promises = [self._report(airflow, run_id)]

        emulator.set(job_seconds=min(self.job_seconds, SECONDS_OF_SECOND_JOB))
        second = airflow.trigger(DAG_ID, {**conf, "spoil": True})
        self.terminal.title("The same again, trained on wrong labels")
        self.states.clear()
        if self._watch(airflow, client, second) != "success":
            return self._explain(airflow, second)
        kept_promises += [self._report_gate(airflow, second), self._report_use(airflow), len(emulator.jobs()) == 2]
        self.terminal.line(f"\n  Jobs paid for: {len(emulator.jobs())}.")
        if not all(kept_promises):
            self.terminal.line(self.terminal.paint("\nThat is not what this demo promises.", "red"))
            return 1
        return 0

    def _watch(self, airflow: Standalone, client: openai.OpenAI, run_id: str) -> str:
        """Show the run until it ends; return its state."""
        last = time.monotonic()
        deadline = last + SECONDS_TO_RUN
        while True:
            over = airflow.run_state(DAG_ID, run_id)
            tasks = sorted(airflow.tasks(DAG_ID, run_id), key=lambda task: task["start_date"] or "~")
            now = time.monotonic()
            for task in tasks:
                if task["state"] == "running":
                    self.held[task["task_id"]] += now - last
                if task["state"] in STATES and task["state"] != self.states.get(task["task_id"]):
                    self._show(airflow, run_id, task["task_id"], task["state"])
            last = now
            if over in FINISHED:
                return over
            if now > deadline:
                raise AirflowTrouble(f"The run is not over after {SECONDS_TO_RUN:.0f} s:\n{airflow.log_tail()}")
            if self.states.get("create") == "success" and self.states.get("wait") != "success":
                self._show_training(client)
            time.sleep(0.5)

    def _show(self, airflow: Standalone, run_id: str, task_id: str, state: str) -> None:
        self.states[task_id] = state
        detail = ""
        if state == "deferred":
            detail = "the triggerer waits; no worker is held"
        elif state == "success" and task_id in ("upload", "create", "validate", "wait"):
            value = airflow.xcom(DAG_ID, run_id, task_id)
            if task_id == "validate":
                errors, warnings = (counted(value[kind + "s"]["total"], kind) for kind in ("error", "warning"))
                detail = f"{counted(value['training']['examples'], 'example')}, {errors}, {warnings}"
            else:
                detail = value["fine_tuned_model"] if task_id == "wait" else value
        painted = self.terminal.paint(f"{state:<16}", STATES[state])
        self.terminal.event(f"{task_id:<18} {painted} {detail}")

    def _show_training(self, client: openai.OpenAI) -> None:
        for job in client.fine_tuning.jobs.list(limit=1).data:
            for event in client.fine_tuning.jobs.list_events(job.id, limit=10).data:
                if event.type == "metrics":
                    data: Any = event.data
                    share = data["step"] / data["total_steps"]
                    bar = "█" * round(share * WIDTH_OF_BAR)
                    step = f"step {data['step']:>4}/{data['total_steps']}"
                    self.terminal.live(f"  training {bar:░<{WIDTH_OF_BAR}} {step}  train loss {data['train_loss']:.3f}")
                    return
            self.terminal.live(f"  training {job.status}")

    def _report(self, airflow: Standalone, run_id: str) -> bool:
        """Show what came of the first run; return whether it is what the demo promises."""
        say = self.terminal
        outcome, evaluation = (airflow.xcom(DAG_ID, run_id, task_id) for task_id in ("wait", "evaluate"))
        decision = airflow.xcom(DAG_ID, run_id, "promote")
        say.title(f"Right answers on {evaluation['dataset']['examples']} options that nobody was trained on")
        say.line(say.paint(f"  {'':<24}{'train loss':>12}{'right':>12}{'95 % interval':>18}", "dim"))
        losses = {row["model"]: row.get("train_loss") for row in outcome["checkpoints"]}
        for row in reversed(evaluation["models"]):
            if row["model"] == evaluation["baseline"]:
                name = "base model"
            elif row["model"] == outcome["fine_tuned_model"]:
                name = "fine-tuned model"
            else:
                name = f"checkpoint, step {row['step']}"
            interval = f"{row['score_low']:.1%} to {row['score_high']:.1%}"
            mark = say.paint("  best", "green") if row["model"] == evaluation["best"] else ""
            say.line(f"  {name:<24}{_loss(losses.get(row['model']))}{row['score']:>12.1%}{interval:>18}{mark}")
        say.title("The champion")
        say.line(f"  {say.paint(decision['reason'], 'green' if decision['promoted'] else 'red')}")
        took = outcome["finished_at"] - outcome["created_at"]
        say.title("What the wait cost")
        say.line(
            f"  The job took {took} s. The task that waited for it held a worker for {self.held['wait']:.1f} s: to"
        )
        say.line("  begin and to take up the result. That is the same for a job of 20 seconds and for one of 20 hours.")
        return decision["outcome"] == "promoted"

    def _report_gate(self, airflow: Standalone, run_id: str) -> bool:
        """Show why the second model was refused; return whether it was."""
        decision = airflow.xcom(DAG_ID, run_id, "promote")
        self.terminal.title("The second model is not promoted")
        self.terminal.line(f"  {decision['reason']}")
        return decision["outcome"] == "kept"

    def _report_use(self, airflow: Standalone) -> bool:
        """Show what the DAG made of it that is scheduled on the champion; return whether it ran once."""
        runs = airflow.api("GET", f"/dags/{SERVING}/dagRuns")["dag_runs"]
        self.terminal.title(f"{SERVING} is scheduled on the champion, and ran {counted(len(runs), 'time')}")
        for run in runs:
            asked = airflow.xcom(SERVING, run["dag_run_id"], "ask")
            self.terminal.line(f"  {run['state']}; {asked and asked['model']} answers {asked and asked['answer']}")
        return [run["state"] for run in runs] == ["success"]

    def _explain(self, airflow: Standalone, run_id: str) -> int:
        """Show why the run failed; return the exit code."""
        for task in airflow.tasks(DAG_ID, run_id):
            if task["state"] == "failed":
                self.terminal.title(f"{task['task_id']} failed")
                self.terminal.line(airflow.log(DAG_ID, run_id, task["task_id"], task["try_number"])[-4000:])
        return 1


def _loss(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.3f}':>12}"


sys.exit(main())
