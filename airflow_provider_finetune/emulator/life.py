"""The life of a job: validating_files, queued, running, perhaps paused and resumed, and how it ends.

Each job is one task of the event loop. Reading files and training happen in a few threads that all jobs share, in short
turns, so that hundreds of jobs make progress side by side.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from traceback import format_tb
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.examples import BadFile, Examples, read_examples
from airflow_provider_finetune.emulator.file import RESULTS_PURPOSE
from airflow_provider_finetune.emulator.graders import approximated
from airflow_provider_finetune.emulator.hyperparameters import Reinforcement, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.emulator.job import Job
    from airflow_provider_finetune.emulator.store import Store
    from airflow_provider_finetune.emulator.training import Step, Training

log = logging.getLogger(__name__)

PART_VALIDATING, PART_QUEUED, PART_PAUSING = 0.05, 0.05, 0.05
LONGEST_MOMENT = 5.0  # seconds; validating and queued shall be seen, not waited for
LONGEST_TURN = 0.05  # seconds of work in a thread before the next job has its turn
SHORTEST_NAP, LONGEST_NAP = 0.1, 0.25  # seconds between two turns; a pause has to be noticed soon


def begin(store: Store, job: Job) -> None:
    """Start the life of a job that was just created."""
    job.resumed = asyncio.Event()
    job.record(f"Created fine-tuning job: {job.id}")
    job.life = asyncio.create_task(_live(store, job))


def cancel(job: Job) -> None:
    """End a job as cancelled."""
    job.stop()
    job.end("cancelled")
    job.record("Fine-tuning job cancelled")


async def _live(store: Store, job: Job) -> None:
    try:
        training, tokens = await _validate(store, job)
        while not await _train(store, job, training):
            await _paused(store, job, training)
        _succeed(store, job, training, tokens)
    except BadFile as e:
        _fail(job, e.code, str(e), e.param)
    except FileNotFoundError:
        _fail(job, "file_not_found", "A file of this job was deleted before it was read.", "training_file")
    except Exception as e:  # noqa: BLE001 - whatever it is, the job has to end
        # Without the message, which may hold training text.
        log.error("Job %s: %s\n%s", job.id, type(e).__name__, "".join(format_tb(e.__traceback__)))
        _fail(job, "server_error", "The job failed due to an internal error.", None)


def _fail(job: Job, code: str, message: str, param: str | None) -> None:
    job.error = {"code": code, "message": message, "param": param}
    job.end("failed")
    job.record(message, level="error")


async def _moment(job: Job, part: float) -> None:
    await asyncio.sleep(min(part * job.seconds, LONGEST_MOMENT))


async def _in_thread(store: Store, work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(store.threads, work)


async def _validate(store: Store, job: Job) -> tuple[Training, int]:
    """Return the training that the files allow, and its number of tokens."""
    wanted, started = job.wanted, monotonic()
    also = f" and validation file: {wanted.validation_file}" if wanted.validation_file else ""
    job.record(f"Validating training file: {wanted.training_file}{also}")
    training, job.resolved, tokens = await _in_thread(store, lambda: _prepare(store, job))
    already = monotonic() - started
    await asyncio.sleep(max(0, min(PART_VALIDATING * job.seconds, LONGEST_MOMENT) - already))
    job.status = "queued"
    job.record("Files validated, moving job to queued state")
    if isinstance(part := job.method.part, Reinforcement) and (names := approximated(part.grader)):
        job.record(f"Rewards of these graders are approximated here: {', '.join(names)}", level="warn")
    return training, tokens


def _prepare(store: Store, job: Job) -> tuple[Training, dict[str, Any], int]:
    """Run in a thread, with the import of the training code: that takes longer than the emulator's start."""
    from airflow_provider_finetune.datasets import check
    from airflow_provider_finetune.emulator.training import Training

    part, method = job.method.part, job.method.type
    stopped = store.is_stopping.is_set
    training = read_examples(job.training_path, method, param="training_file", stopped=stopped)
    validation = Examples()
    if job.validation_path:
        validation = read_examples(job.validation_path, method, param="validation_file", stopped=stopped)
    elif method == "reinforcement":
        message = "The reinforcement method needs a validation file."
        raise BadFile("missing_validation_file", message, "validation_file")
    resolved = resolve(part.hyperparameters, training.count)
    grader = part.grader if isinstance(part, Reinforcement) else None
    prepared = Training(
        training.learned,
        validation.learned,
        method=method,
        hyperparameters=resolved,
        seed=job.seed,
        grader=grader,
    )
    # By the rule of the dataset check, so that what it foretells is what a job charges.
    tokens = check(job.training_path, method=method, tokens="estimate").training.tokens.total
    return prepared, resolved, tokens


async def _train(store: Store, job: Job, training: Training) -> bool:
    """Train from where the training is; return False if a pause came first."""
    await _moment(job, PART_QUEUED)
    job.status = "running"
    job.record("Fine-tuning job started")
    pace = job.seconds * (1 - PART_VALIDATING - PART_QUEUED) / training.total_steps
    first, started = len(training.done), monotonic()
    job.estimated_finish = int(time() + pace * (training.total_steps - first)) + 1

    def stopped() -> bool:
        return job.status != "running" or store.is_stopping.is_set()

    def turn() -> list[Step]:
        due = first + int((monotonic() - started) / pace) if pace else training.total_steps
        return training.run(due, seconds=LONGEST_TURN, stopped=stopped)

    while not training.is_finished:
        steps = await _in_thread(store, turn)
        for step in steps:
            if step.is_reported:
                message = f"Step {step.number}/{training.total_steps}: training loss={step.train_loss:.2f}"
                job.record(message, data={**step.metrics(), "total_steps": training.total_steps})
        if steps and steps[-1].ends_epoch:
            _add_checkpoint(store, job, training, is_final=training.is_finished)
        if training.is_finished:
            break
        if job.status == "pausing":
            return False
        early = started + pace * (len(training.done) + 1 - first) - monotonic()
        await asyncio.sleep(min(max(early, SHORTEST_NAP), LONGEST_NAP) if early > 0 else 0)
    return True


def _add_checkpoint(
    store: Store, job: Job, training: Training, *, is_pause: bool = False, is_final: bool = False
) -> None:
    metrics = training.done[-1].metrics()
    model, dropped = job.add_checkpoint(metrics, training.snapshot(), is_pause=is_pause, is_final=is_final)
    for name in dropped:
        store.models.pop(name, None)
    store.models[model.name] = model


async def _paused(store: Store, job: Job, training: Training) -> None:
    """Write a checkpoint, and wait until somebody resumes the job, which is then queued again."""
    assert job.resumed is not None
    job.resumed.clear()
    job.estimated_finish = None
    await _moment(job, PART_PAUSING)
    if training.done and not training.done[-1].ends_epoch:
        _add_checkpoint(store, job, training, is_pause=True)
    job.status = "paused"
    job.record("Fine-tuning job paused")
    await job.resumed.wait()


def resume(job: Job) -> None:
    """Queue a paused job again."""
    assert job.resumed is not None
    job.status = "queued"
    job.record("Fine-tuning job resumed, moving job to queued state")
    job.resumed.set()


def _succeed(store: Store, job: Job, training: Training, tokens: int) -> None:
    from airflow_provider_finetune.emulator.training import result_csv

    path = store.new_path()
    path.write_text(result_csv(training.done))
    job.result_files = [store.add_file("step_metrics.csv", RESULTS_PURPOSE, path).id]
    assert job.resolved is not None
    job.trained_tokens = tokens * job.resolved["n_epochs"]
    job.fine_tuned_model = job.model_name(job.name)
    job.end("succeeded")
    job.record(f"New fine-tuned model created: {job.fine_tuned_model}")
    job.record("The job has successfully completed")
