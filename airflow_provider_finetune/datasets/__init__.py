"""The rules of a dataset: which formats there are, what is wrong with a file, what makes one of it, what it costs.

Pure Python without Airflow, SDK or network::

    from airflow_provider_finetune.datasets import check

    report = check("train.jsonl", method="supervised")
    print(report.text())
"""

from airflow_provider_finetune.datasets.conversion import Conversion
from airflow_provider_finetune.datasets.converter import Columns
from airflow_provider_finetune.datasets.formats import Method
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.problem import ErrorKind, Problem, WarningKind
from airflow_provider_finetune.datasets.report import DatasetReport, FileReport
from airflow_provider_finetune.datasets.rules import Rules, Severity
from airflow_provider_finetune.datasets.tokens import EncodingUnavailable, Tokens
from airflow_provider_finetune.datasets.validation import DatasetChecker, check
from airflow_provider_finetune.datasets.vendors import Endpoint

__all__ = [
    "Columns",
    "Conversion",
    "DatasetChecker",
    "DatasetReport",
    "EncodingUnavailable",
    "Endpoint",
    "ErrorKind",
    "FileReport",
    "Limits",
    "Method",
    "Problem",
    "Rules",
    "Severity",
    "Tokens",
    "WarningKind",
    "check",
]
