"""Checking a dataset before it costs money, and uploading it once."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_finetune.exceptions import DatasetError, FineTuningError, InvalidRequest
from airflow_provider_finetune.jobs.request import is_templated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.datasets.report import DatasetReport
    from airflow_provider_finetune.datasets.stored import Content, StoredFile
    from airflow_provider_finetune.datasets.validation import DatasetChecker
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

MB = 1024 * 1024
#: What ``POST /files`` takes; more goes through the Uploads API.
MOST_BYTES_AT_ONCE = 512 * MB
#: What the Uploads API takes: https://platform.openai.com/docs/api-reference/uploads
MOST_BYTES = 8 * 1024 * MB
PART_BYTES = 64 * MB
TRIES = 4
_SECONDS_BETWEEN_PROGRESS = 10.0


class ValidateDatasetOperator(BaseOperator):
    """Checks a dataset; fails without retries when a server would refuse it or when it costs more than allowed.

    Returns the report, which is plain JSON without training text, and prints it to the log.

    :param path: the training file: a local path, or a URL that ``ObjectStoragePath`` opens (templated).
    :param validation_path: the validation file (templated); reinforcement needs one.
    :param method: ``supervised``, ``dpo``, ``reinforcement``, or ``completion`` (templated).
    :param n_epochs: how often training reads the file, 1 to 50 (templated). **Cost grows with it.**
    :param price_per_million_tokens: for a million trained tokens, in any currency (templated). Prices differ by model
        and vendor, so the provider knows none.
    :param max_cost: fail when training costs more, in the same currency (templated); needs ``n_epochs`` and
        ``price_per_million_tokens``.
    :param max_warnings: fail when there are more warnings: duplicates, overlap, conflicts … (templated).
    :param tokens: ``auto`` counts with tiktoken where its encoding is on the worker, ``estimate`` is faster,
        ``tiktoken`` insists.
    :param listed: how many errors, and how many warnings, are listed; all are counted.
    :param storage_conn_id: the Airflow connection of the object storage (templated).
    :raises DatasetError: the data is bad, or costs too much. No retry can mend that.
    """

    template_fields: Sequence[str] = (
        "path",
        "validation_path",
        "method",
        "n_epochs",
        "price_per_million_tokens",
        "max_cost",
        "max_warnings",
        "storage_conn_id",
    )
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        path: str,
        validation_path: str | None = None,
        method: str = "supervised",
        n_epochs: int | str | None = None,
        price_per_million_tokens: float | str | None = None,
        max_cost: float | str | None = None,
        max_warnings: int | str | None = None,
        tokens: str = "auto",
        listed: int = 20,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.validation_path = validation_path
        self.method = method
        self.n_epochs = n_epochs
        self.price_per_million_tokens = price_per_million_tokens
        self.max_cost = max_cost
        self.max_warnings = max_warnings
        self.tokens = tokens
        self.listed = listed
        self.storage_conn_id = storage_conn_id
        self._numbers()
        _check_choice("method", method, _METHODS)
        _check_choice("tokens", tokens, ("auto", "tiktoken", "estimate"))
        if max_cost is not None and (n_epochs is None or price_per_million_tokens is None):
            raise ValueError("max_cost is given without n_epochs and price_per_million_tokens; the cost is not known")

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the dataset; return the report as JSON."""
        with _as_invalid_request():
            numbers = self._numbers()
            _check_choice("method", self.method, _METHODS)
        training = self._checked(self.path)
        validation = None
        if self.validation_path:
            validation = self._checked(self.validation_path, is_validation=True)
        report = training.finish(
            validation,
            n_epochs=cast("int | None", numbers["n_epochs"]),
            price_per_million_tokens=numbers["price_per_million_tokens"],
        )
        _print(self, report)
        _refuse_bad(report)
        cost, ceiling = report.cost.total, numbers["max_cost"]
        if ceiling is not None and cost is not None and cost > ceiling:
            raise DatasetError(
                f"{self.path}: training for {report.cost.n_epochs} epochs costs {cost:,.2f}; expected at most max_cost "
                f"{ceiling:,.2f}. Use fewer epochs or examples, or raise max_cost."
            )
        most = numbers["max_warnings"]
        if most is not None and report.warnings.total > most:
            raise DatasetError(
                f"{self.path}: {report.warnings.total} warnings; expected at most max_warnings {most:.0f}. The first: "
                f"{report.warnings.listed[0] if report.warnings.listed else ', '.join(report.warnings.by_kind)}"
            )
        return report.as_json()

    def _checked(self, path: str, *, is_validation: bool = False) -> DatasetChecker:
        from airflow_provider_finetune.datasets.lines import Limits
        from airflow_provider_finetune.datasets.validation import DatasetChecker, for_validation

        limits = Limits(listed=self.listed)
        checker = DatasetChecker(
            path,
            cast("Any", self.method),
            tokens=cast("Any", self.tokens),
            limits=for_validation(limits) if is_validation else limits,
        )
        with _opened(path, self.storage_conn_id) as file:
            while chunk := file.read(MB):
                checker.feed(chunk)
        return checker

    def _numbers(self) -> dict[str, float | None]:
        """Return the numbers that are known; those still to be rendered are checked but for being there."""
        return {
            "n_epochs": _number("n_epochs", self.n_epochs, least=1, most=50, whole=True),
            "price_per_million_tokens": _number("price_per_million_tokens", self.price_per_million_tokens),
            "max_cost": _number("max_cost", self.max_cost),
            "max_warnings": _number("max_warnings", self.max_warnings, whole=True),
        }


class UploadDatasetOperator(BaseOperator):
    """Uploads a dataset, unless the endpoint already has it; returns the id of the file.

    The bytes are read once: the same pass hashes and checks them. The name at the endpoint carries the hash, so that
    the same content is found again and not uploaded twice. Pushes ``sha256`` and ``report`` before it uploads.

    :param path: a local path, or a URL that ``ObjectStoragePath`` opens: ``s3://``, ``gs://``, ``abfs://``,
        ``file://`` … (templated). A remote file is spooled to the worker's temporary directory.
    :param validate: refuse a file that the server would refuse.
    :param method: what the file shall train (templated), for ``validate``.
    :param min_examples: for ``validate``: 10 for a training file; 1 will do for a validation file.
    :param purpose: the API's purpose of the file.
    :param expires_after: seconds after which the endpoint deletes the file, 3600 to 2592000 (templated); None keeps it.
    :param poll_interval: seconds between two looks at a file that is being processed.
    :param timeout: seconds to wait for that.
    :param storage_conn_id: the Airflow connection of the object storage (templated).
    :param conn_id: the Airflow connection of the endpoint, of type ``openai`` (templated).
    :raises DatasetError: the data is bad, or the endpoint found it so. No retry can mend that.
    :raises FineTuningError: see :mod:`airflow_provider_finetune.exceptions`; a retry finds what was uploaded.
    """

    template_fields: Sequence[str] = ("path", "method", "expires_after", "storage_conn_id", "conn_id")
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        path: str,
        validate: bool = True,
        method: str = "supervised",
        min_examples: int = 10,
        purpose: str = "fine-tune",
        expires_after: int | str | None = None,
        poll_interval: float = 2,
        timeout: float = 60 * 60,
        storage_conn_id: str | None = None,
        conn_id: str = "openai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.validate = validate
        self.method = method
        self.min_examples = min_examples
        self.purpose = purpose
        self.expires_after = expires_after
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.storage_conn_id = storage_conn_id
        self.conn_id = conn_id
        self._seconds_kept()
        _check_choice("method", method, _METHODS)

    def execute(self, context: Context) -> str:
        """Check, upload and wait; return the id of the file."""
        with _as_invalid_request():
            seconds_kept = self._seconds_kept()
            _check_choice("method", self.method, _METHODS)
        with ExitStack() as stack:
            return _Upload(self, self._read(stack, context), seconds_kept).settled()

    def _read(self, stack: ExitStack, context: Context) -> _Source:
        """Read the source once, and check what it holds."""
        from airflow_provider_finetune.datasets.lines import Limits
        from airflow_provider_finetune.datasets.stored import Content
        from airflow_provider_finetune.datasets.validation import DatasetChecker

        file = opened = stack.enter_context(_opened(self.path, self.storage_conn_id))
        is_remote = "://" in self.path
        if is_remote:
            spool = tempfile.TemporaryFile(prefix="dataset-", buffering=0)  # noqa: SIM115
            file = cast("BinaryIO", stack.enter_context(spool))
        stamp = None if is_remote else _stamp(file)
        checker = None
        if self.validate:
            limits = Limits(min_examples=self.min_examples)
            checker = DatasetChecker(self.path, cast("Any", self.method), tokens="estimate", limits=limits)
        sha256, size = hashlib.sha256(), 0
        while chunk := opened.read(MB):
            size += len(chunk)
            if checker is None:
                sha256.update(chunk)
            else:
                checker.feed(chunk)
            if is_remote:
                file.write(chunk)
        if size > MOST_BYTES:
            raise DatasetError(f"{self.path}: {size:,} bytes; expected at most {MOST_BYTES:,}")
        content = Content(checker.sha256 if checker else sha256.hexdigest(), size)
        context["ti"].xcom_push(key="sha256", value=content.sha256)
        if checker is not None:
            report = checker.finish(is_complete=False)
            context["ti"].xcom_push(key="report", value=report.as_json())
            _print(self, report)
            _refuse_bad(report)
        return _Source(file, content, stamp)

    def _seconds_kept(self) -> int | None:
        seconds = _number("expires_after", self.expires_after, least=3600, most=2_592_000, whole=True)
        return None if seconds is None else int(seconds)


class _Source(NamedTuple):
    """A local file, what is in it, and what it looked like before it was read; None if nobody else can change it."""

    file: BinaryIO
    content: Content
    stamp: tuple[int, int] | None


class _Upload:
    """One content on its way to one endpoint."""

    def __init__(self, operator: UploadDatasetOperator, source: _Source, seconds_kept: int | None) -> None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        self.operator = operator
        self.hook: FineTuningHook = FineTuningHook(conn_id=operator.conn_id)
        self.file, self.content, self.stamp = source
        self.name = self.content.name(operator.path)
        self.expiry: dict[str, Any] = {}
        if seconds_kept is not None:
            self.expiry = {"expires_after": {"anchor": "created_at", "seconds": seconds_kept}}
        self.seconds_kept = seconds_kept
        self.log = operator.log
        self._last_progress = time.monotonic()

    def settled(self) -> str:
        """Return the id of the processed file, which was there or is there now."""
        stored = self.found()
        if stored is None:
            stored = self.sent()
        else:
            self.log.info("Reusing file %s (%s): it has the same content", stored.id, stored.filename)
        return self.processed(stored)

    def found(self) -> StoredFile | None:
        """Return the file with this content that the endpoint has, if it is good for long enough."""
        from airflow_provider_finetune.datasets.stored import reusable
        from airflow_provider_finetune.hooks.fine_tuning import explained

        with explained("list files"):
            files = self.hook.list_files(self.operator.purpose)
        return reusable(files, self.content, now=time.time(), expires_after=self.seconds_kept)

    def sent(self) -> StoredFile:
        """Send the bytes; return the new file. When an answer is lost, look for the file before sending again."""
        import openai

        from airflow_provider_finetune.hooks.fine_tuning import error_for, fault_of
        from airflow_provider_finetune.jobs.fault import FaultKind

        send = self._in_one if self.content.size <= MOST_BYTES_AT_ONCE else self._in_parts
        self.log.info("Uploading %s, %s bytes, as %s", self.operator.path, f"{self.content.size:,}", self.name)
        for attempt in range(1, TRIES + 1):
            try:
                stored = send()
                break
            except openai.APIError as error:
                fault = fault_of(error)
            if fault.kind is FaultKind.LOST and (late := self.found()) is not None:
                stored = late
                break
            if fault.kind is FaultKind.REFUSED or attempt == TRIES:
                raise error_for(fault, f"upload {self.name}")
            self.log.warning("%s. Trying again", fault.explain(f"upload {self.name}"))
            time.sleep(fault.retry_after if fault.retry_after is not None else 2 ** (attempt - 1))
        if self.stamp not in (None, _stamp(self.file)):
            raise FineTuningError(
                f"{self.operator.path} changed while it was uploaded: delete file {stored.id} at the endpoint"
            )
        return stored

    def processed(self, stored: StoredFile) -> str:
        """Wait until the endpoint has processed the file; return its id."""
        from airflow_provider_finetune.datasets.stored import FileState, state_of
        from airflow_provider_finetune.hooks.fine_tuning import explained
        from airflow_provider_finetune.jobs.fault import without_keys

        deadline = time.monotonic() + self.operator.timeout
        while True:
            status = getattr(stored, "status", None)
            match state_of(status):
                case FileState.READY:
                    if status != "processed":
                        self.log.warning("File %s has status %r; taking it for processed", stored.id, status)
                    return stored.id
                case FileState.BROKEN:
                    why = without_keys(str(getattr(stored, "status_details", None) or "the endpoint does not say why"))
                    raise DatasetError(f"File {stored.id} ({self.name}) has status {status!r}: {why}")
            if time.monotonic() > deadline:
                raise FineTuningError(
                    f"File {stored.id} has had status {status!r} for {self.operator.timeout:.0f} s; expected "
                    "'processed'. Another try waits for the same file."
                )
            time.sleep(self.operator.poll_interval)
            with explained(f"retrieve file {stored.id}"):
                stored = self.hook.retrieve_file(stored.id)

    def _in_one(self) -> StoredFile:
        # The SDK's own retries would leave doubles behind lost answers.
        client = self.hook.conn.with_options(max_retries=0)
        return client.files.create(
            file=(self.name, self._window(0, self.content.size)),
            purpose=cast("Any", self.operator.purpose),
            **self.expiry,
        )

    def _in_parts(self) -> StoredFile:
        client = self.hook.conn
        upload = client.with_options(max_retries=0).uploads.create(
            bytes=self.content.size,
            filename=self.name,
            mime_type="text/jsonl",
            purpose=cast("Any", self.operator.purpose),
            **self.expiry,
        )
        # Not the SDK's upload_file_chunked: it holds each part in memory, and leaves the upload open when it fails.
        part_client = client.with_options(max_retries=TRIES)
        try:
            parts = []
            for start in range(0, self.content.size, PART_BYTES):
                part = self._window(start, min(PART_BYTES, self.content.size - start))
                sent = part_client.uploads.parts.create(upload.id, data=(self.name, part))
                parts.append(sent.id)
            done = client.with_options(max_retries=0).uploads.complete(upload.id, part_ids=parts)
        except BaseException:
            self._abort(upload.id)
            raise
        if done.file is None:
            raise FineTuningError(f"Upload {upload.id} has status {done.status!r} and no file; expected 'completed'")
        return done.file

    def _abort(self, upload_id: str) -> None:
        import openai

        try:
            self.hook.conn.with_options(max_retries=1, timeout=10).uploads.cancel(upload_id)
        except openai.APIError as error:
            # Nothing is lost: the endpoint drops it within the hour. Or it was completed, and only the answer lost.
            self.log.info("Upload %s is not cancelled: %s", upload_id, type(error).__name__)

    def _window(self, start: int, size: int) -> BinaryIO:
        from airflow_provider_finetune.datasets.window import Window

        return cast("BinaryIO", Window(self.file, start, size, self._progress))

    def _progress(self, position: int) -> None:
        if time.monotonic() - self._last_progress >= _SECONDS_BETWEEN_PROGRESS:
            self._last_progress = time.monotonic()
            share = 100 * position / max(1, self.content.size)
            self.log.info("Uploaded %s of %s bytes (%.0f %%)", f"{position:,}", f"{self.content.size:,}", share)


_METHODS = ("supervised", "dpo", "reinforcement", "completion")


@contextmanager
def _opened(path: str, storage_conn_id: str | None) -> Iterator[BinaryIO]:
    """Open a local path, or a URL of object storage."""
    if "://" not in path:
        with open(path, "rb", buffering=0) as file:
            yield cast("BinaryIO", file)
        return
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    # Small blocks keep the memory of readers ahead small; some take 50 MB by default.
    # Without one, the URL may carry it: s3://my_conn@bucket/key.
    url: Any = ObjectStoragePath(path, **({"conn_id": storage_conn_id} if storage_conn_id else {}))
    with url.open("rb", block_size=8 * MB) as file:
        yield file


def _stamp(file: BinaryIO) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _print(operator: BaseOperator, report: DatasetReport) -> None:
    for line in report.text().splitlines():
        operator.log.info("%s", line)


def _refuse_bad(report: DatasetReport) -> None:
    if report.ok:
        return
    first = report.errors.listed[0] if report.errors.listed else ", ".join(report.errors.by_kind)
    hint = f" Every example fits method {' or '.join(report.fits)}." if report.fits else ""
    raise DatasetError(f"{first}. {report.errors.total:,} errors in all, listed in the log and the report.{hint}")


def _number(
    name: str, value: float | str | None, *, least: float = 0, most: float = math.inf, whole: bool = False
) -> float | None:
    """Return a number that is known, None for one that is not there or still a template."""
    if value is None or value in ("", "None") or is_templated(value):
        return None
    kind: Callable[[Any], float] = int if whole else float
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not least <= number <= most or (whole and number != float(value)):
        expected = f"a{' whole' if whole else ''} number of at least {least}" + (
            f", at most {most}" if most < math.inf else ""
        )
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    return number


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if not is_templated(value) and value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


@contextmanager
def _as_invalid_request() -> Iterator[None]:
    """Turn what is wrong with a rendered argument into a failure without retries."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
