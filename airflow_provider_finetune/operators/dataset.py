"""Checking a dataset before it costs money, and uploading it once."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.arguments import as_invalid_request, choice, interval, number, required, seconds
from airflow_provider_finetune.exceptions import DatasetError, InvalidRequest
from airflow_provider_finetune.jobs.payload import storable
from airflow_provider_finetune.jobs.request import is_templated
from airflow_provider_finetune.operators.addressed import AddressedOperator, without_secrets
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_finetune.datasets.lines import Limits
    from airflow_provider_finetune.datasets.report import DatasetReport
    from airflow_provider_finetune.datasets.rules import Rules
    from airflow_provider_finetune.datasets.validation import DatasetChecker
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.hooks.upload import Source

_METHODS = ("supervised", "dpo", "reinforcement", "completion")
_VERIFY = ("name", "content")
_ENDPOINTS = ("openai", "azure", "nebius", "any")


class ValidateDatasetOperator(AddressedOperator):
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
    :param endpoint: whose rules the dataset is checked by (templated): ``openai``, ``azure``, ``nebius``, or ``any``.
        For any, what one vendor takes and another refuses is a warning that names who refuses it.
    :param allow: kinds of problems that are not reported, a list or a text with commas between them (templated).
    :param refuse: kinds of problems that are errors, as for ``allow`` (templated).
    :param max_line_bytes: longer lines are errors (templated); by default what ten images of 10 MB need.
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
        "endpoint",
        "allow",
        "refuse",
        "max_line_bytes",
        "storage_conn_id",
    )
    addresses = ("path", "validation_path")
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
        endpoint: str = "any",
        allow: Sequence[str] | str = (),
        refuse: Sequence[str] | str = (),
        max_line_bytes: int | str | None = None,
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
        self.endpoint = endpoint
        self.allow = allow
        self.refuse = refuse
        self.max_line_bytes = max_line_bytes
        self.storage_conn_id = storage_conn_id
        _check_rules(endpoint, allow, refuse, max_line_bytes)
        choice("tokens", tokens, ("auto", "tiktoken", "estimate"))
        if not is_templated(method):
            choice("method", method, _METHODS)
        self._numbers(rendered=False)
        if max_cost is not None and (n_epochs is None or price_per_million_tokens is None):
            raise InvalidRequest("max_cost is given without n_epochs and price_per_million_tokens: the cost is unknown")
        self._limited = max_cost is not None, max_warnings is not None

    @without_secrets
    def execute(self, context: Context) -> dict[str, Any]:
        """Check the dataset; return the report as JSON."""
        choice("method", self.method, _METHODS)
        numbers = self._numbers(rendered=True)
        ceiling, most = numbers["max_cost"], numbers["max_warnings"]
        if self._limited != (ceiling is not None, most is not None):
            raise InvalidRequest("max_cost or max_warnings rendered to nothing, and would limit nothing")
        if ceiling is not None and None in (numbers["n_epochs"], numbers["price_per_million_tokens"]):
            raise InvalidRequest("n_epochs or price_per_million_tokens rendered to nothing: max_cost cannot be checked")
        training = self._checked(required("path", self.path))
        validation = None
        if self.validation_path:
            validation = self._checked(required("validation_path", self.validation_path), is_validation=True)
        report = training.finish(
            validation,
            n_epochs=cast("int | None", numbers["n_epochs"]),
            price_per_million_tokens=numbers["price_per_million_tokens"],
        )
        _print(self, report)
        _refuse_bad(report)
        cost = report.cost.total
        if ceiling is not None and cost is not None and cost > ceiling:
            raise DatasetError(
                f"{shown(self.path)}: training for {counted(report.cost.n_epochs or 0, 'epoch')} costs {cost:,.2f}; "
                f"expected at most max_cost {ceiling:,.2f}. Use fewer epochs or examples, or raise max_cost."
            )
        if most is not None and report.warnings.total > most:
            found = counted(report.warnings.total, "warning")
            raise DatasetError(
                f"{shown(self.path)}: {found}; expected at most max_warnings {most:.0f}. The first: "
                f"{report.warnings.listed[0] if report.warnings.listed else ', '.join(report.warnings.by_kind)}"
            )
        as_json: dict[str, Any] = storable(report.as_json())
        return as_json

    def _checked(self, path: str, *, is_validation: bool = False) -> DatasetChecker:
        from airflow_provider_finetune.datasets.validation import DatasetChecker, for_validation
        from airflow_provider_finetune.hooks.storage import chunks, reading

        limits = _limits(self.max_line_bytes, listed=self.listed)
        checker = DatasetChecker(
            shown(path),
            cast("Any", self.method),
            tokens=cast("Any", self.tokens),
            limits=for_validation(limits) if is_validation else limits,
            rules=_rules(self.endpoint, self.allow, self.refuse),
        )
        with reading(path, self.storage_conn_id) as file:
            for chunk in chunks(file, path):
                checker.feed(chunk)
        return checker

    def _numbers(self, *, rendered: bool) -> dict[str, float | None]:
        """Return the numbers that are known: while the DAG is parsed, some are still templates."""
        limits: dict[str, dict[str, Any]] = {
            "n_epochs": {"least": 1, "most": 50, "whole": True},
            "price_per_million_tokens": {},
            "max_cost": {},
            "max_warnings": {"whole": True},
        }
        given = {name: getattr(self, name) for name in limits}
        return {
            name: number(name, value, **limits[name]) if rendered or not is_templated(value) else None
            for name, value in given.items()
        }


class UploadDatasetOperator(AddressedOperator):
    """Uploads a dataset, unless the endpoint already has it; returns the id of the file.

    The bytes are read once: the same pass hashes and checks them. The name at the endpoint carries the hash, so that
    the same content is found again and not uploaded twice. Pushes ``sha256`` and ``report`` before it uploads.

    :param path: a local path, or a URL that ``ObjectStoragePath`` opens: ``s3://``, ``gs://``, ``abfs://``,
        ``file://`` … (templated). A remote file is spooled to the worker's temporary directory.
    :param validate: refuse a file that the server would refuse.
    :param method: what the file shall train (templated), for ``validate``.
    :param min_examples: for ``validate``: 10 for a training file; 1 will do for a validation file.
    :param endpoint: for ``validate``: whose rules the file is checked by (templated), as for
        :class:`ValidateDatasetOperator`; None goes by the host of the connection.
    :param allow: for ``validate``: kinds of problems that are not reported (templated).
    :param refuse: for ``validate``: kinds of problems that are errors (templated).
    :param max_line_bytes: for ``validate``: longer lines are errors (templated).
    :param purpose: the API's purpose of the file.
    :param expires_after: seconds after which the endpoint deletes the file, 3600 to 2592000 (templated); None keeps it.
    :param poll_interval: seconds, at least 0.1, between two looks at a file that is being processed.
    :param timeout: seconds to wait for that, and for the source to be read.
    :param storage_conn_id: the Airflow connection of the object storage (templated).
    :param conn_id: the Airflow connection of the endpoint, of type ``openai`` (templated).
    :param verify: when a file of the endpoint is taken for the same content: ``"name"`` goes by its name, which carries
        the hash, and its size; ``"content"`` fetches the file and compares its bytes, for endpoints whose files others
        may write too.
    :raises DatasetError: the data is bad, or the endpoint found it so. No retry can mend that.
    :raises FineTuningError: see :mod:`airflow_provider_finetune.exceptions`; a retry finds what was uploaded.
    """

    template_fields: Sequence[str] = (
        "path",
        "method",
        "endpoint",
        "allow",
        "refuse",
        "max_line_bytes",
        "expires_after",
        "storage_conn_id",
        "conn_id",
    )
    addresses = ("path",)
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        path: str,
        validate: bool = True,
        method: str = "supervised",
        min_examples: int = 10,
        endpoint: str | None = None,
        allow: Sequence[str] | str = (),
        refuse: Sequence[str] | str = (),
        max_line_bytes: int | str | None = None,
        purpose: str = "fine-tune",
        expires_after: int | str | None = None,
        poll_interval: float | timedelta = 2,
        timeout: float | timedelta = 60 * 60,
        storage_conn_id: str | None = None,
        conn_id: str = "openai_default",
        verify: str = "name",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.verify = verify
        choice("verify", verify, _VERIFY)
        self.validate = validate
        self.method = method
        self.min_examples = min_examples
        self.endpoint = endpoint
        self.allow = allow
        self.refuse = refuse
        self.max_line_bytes = max_line_bytes
        _check_rules(endpoint, allow, refuse, max_line_bytes)
        self.purpose = purpose
        self.expires_after = expires_after
        self.poll_interval = interval("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)
        self.storage_conn_id = storage_conn_id
        self.conn_id = conn_id
        if not is_templated(expires_after):
            self._seconds_kept()
        if not is_templated(method):
            choice("method", method, _METHODS)

    @without_secrets
    def execute(self, context: Context) -> str:
        """Check, upload and wait; return the id of the file."""
        choice("method", self.method, _METHODS)
        seconds_kept = self._seconds_kept()
        path = required("path", self.path)
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
        from airflow_provider_finetune.hooks.upload import DatasetUpload

        hook = FineTuningHook(conn_id=self.conn_id)
        with ExitStack() as stack:
            return DatasetUpload(
                hook,
                self._read(path, stack, context, hook),
                purpose=self.purpose,
                seconds_kept=seconds_kept,
                poll_interval=self.poll_interval,
                timeout=self.timeout,
                log=cast("Any", self.log),
                verify=cast("Any", self.verify),
            ).settled()

    def _read(self, path: str, stack: ExitStack, context: Context, hook: FineTuningHook) -> Source:
        """Read the source once, and check what it holds."""
        from airflow_provider_finetune.datasets.stored import Content
        from airflow_provider_finetune.datasets.validation import DatasetChecker
        from airflow_provider_finetune.hooks.storage import chunks, reading, spool
        from airflow_provider_finetune.hooks.upload import Source, dataset_rules_of

        file = opened = stack.enter_context(reading(path, self.storage_conn_id, buffering=0))
        is_remote = "://" in path
        if is_remote:
            kept = tempfile.TemporaryFile(prefix="dataset-", buffering=0)  # noqa: SIM115
            file = cast("BinaryIO", stack.enter_context(kept))
        checker = None
        if self.validate:
            endpoint = self.endpoint if _is_given(self.endpoint) else dataset_rules_of(hook)
            checker = DatasetChecker(
                shown(path),
                cast("Any", self.method),
                tokens="estimate",
                limits=_limits(self.max_line_bytes, min_examples=self.min_examples),
                rules=_rules(endpoint, self.allow, self.refuse),
            )
        sha256, size = hashlib.sha256(), 0
        for chunk in chunks(opened, path, seconds=self.timeout):
            size += len(chunk)
            if checker is None:
                sha256.update(chunk)
            else:
                checker.feed(chunk)
            if is_remote:
                spool(chunk, file)
        content = Content(checker.sha256 if checker else sha256.hexdigest(), size)
        context["ti"].xcom_push(key="sha256", value=content.sha256)
        if checker is not None:
            report = checker.finish(is_complete=False)
            context["ti"].xcom_push(key="report", value=storable(report.as_json()))
            _print(self, report)
            _refuse_bad(report)
        return Source(shown(path), file, content)

    def _seconds_kept(self) -> int | None:
        kept = number("expires_after", self.expires_after, least=3600, most=2_592_000, whole=True)
        return None if kept is None else int(kept)


def _is_given(value: object) -> bool:
    return value is not None and str(value).strip() not in ("", "None")


def _kinds(value: Any) -> list[str]:
    """Return kinds of problems that came as a list, or as a text with commas or blanks between them."""
    if isinstance(value, str):
        return value.replace(",", " ").split() if _is_given(value) else []
    return [str(kind) for kind in value or ()]


def _rules(endpoint: Any, allow: Any, refuse: Any) -> Rules:
    from airflow_provider_finetune.datasets.rules import Rules

    with as_invalid_request():
        return Rules.of(endpoint, _kinds(allow), _kinds(refuse))


def _limits(max_line_bytes: Any, **more: int) -> Limits:
    from airflow_provider_finetune.datasets.lines import Limits

    most = number("max_line_bytes", max_line_bytes, least=1, whole=True)
    return Limits(**more) if most is None else Limits(**more, max_line_bytes=int(most))


def _check_rules(endpoint: Any, allow: Any, refuse: Any, max_line_bytes: Any) -> None:
    """Check what is literal, while the DAG is parsed."""
    if endpoint is not None and not is_templated(endpoint):
        choice("endpoint", endpoint, _ENDPOINTS)
    literal = [
        kinds if isinstance(kinds, (str, list, tuple)) and not is_templated(kinds) else () for kinds in (allow, refuse)
    ]
    if any(literal):
        # Only DAG files that turn rules pay for the import of them.
        _rules("any", *literal)
    if not is_templated(max_line_bytes):
        number("max_line_bytes", max_line_bytes, least=1, whole=True)


def _print(operator: BaseOperator, report: DatasetReport) -> None:
    from airflow_provider_finetune.datasets.rules import Severity

    for severity, line in report.findings():
        log = operator.log.error if severity is Severity.ERROR else operator.log.warning
        log("%s", line)
    for line in report.summary():
        operator.log.info("%s", line)


def _refuse_bad(report: DatasetReport) -> None:
    if report.ok:
        return
    first = report.errors.listed[0] if report.errors.listed else ", ".join(report.errors.by_kind)
    hint = f" Every example fits method {' or '.join(report.fits)}." if report.fits else ""
    raise DatasetError(
        f"{first}. {counted(report.errors.total, 'error')} in all, listed in the log and the report.{hint}"
    )
