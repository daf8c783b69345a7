"""What vendors disagree on: the table of rules, one row for each kind of problem, with the source of each fact.

The documentation shows this table; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, get_args

from airflow_provider_finetune.datasets.problem import ErrorKind, WarningKind

if TYPE_CHECKING:
    from collections.abc import Mapping

Vendor = Literal["openai", "azure", "nebius"]
#: Whose rules a file is checked by; ``any`` stands for an endpoint that is not known, or not one of those known.
Endpoint = Literal["openai", "azure", "nebius", "any"]

VENDORS: Final[tuple[Vendor, ...]] = get_args(Vendor)
ENDPOINTS: Final[tuple[Endpoint, ...]] = get_args(Endpoint)
NAMES: Final[Mapping[str, str]] = {"openai": "OpenAI", "azure": "Azure", "nebius": "Nebius"}

#: Images in an example that a vendor takes.
MOST_IMAGES: Final[Mapping[Vendor, int]] = {"openai": 10, "azure": 64}
#: Bytes of an image that OpenAI and Azure take. They say 10 MB, and not which.
MOST_IMAGE_BYTES: Final = 10 * 1024 * 1024


class Verdict(StrEnum):
    """What a vendor does with something."""

    REFUSED = "refused"
    DOUBTFUL = "taken, with a warning"
    TAKEN = "taken"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class VendorRule:
    """A row of the table.

    :ivar what: as it stands in the documentation.
    :ivar sources: where each fact comes from.
    """

    kind: ErrorKind | WarningKind
    what: str
    openai: Verdict
    azure: Verdict
    nebius: Verdict
    sources: tuple[str, ...]

    def verdict(self, vendor: Vendor) -> Verdict:
        """Return what a vendor does with it."""
        found: Verdict = getattr(self, vendor)
        return found


_AZURE_GUIDE = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning"
_AZURE_SCHEMA = (
    "https://github.com/microsoft-foundry/fine-tuning/blob/main/Sample_Datasets/Supervised_Fine_Tuning/SCHEMA.md"
)
_AZURE_DPO = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning-direct-preference-optimization"
_AZURE_VISION = "https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning-vision"
_AZURE_REASONING = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning"
_AZURE_TOOLS = "https://github.com/microsoft-foundry/fine-tuning/issues/23"
_OPENAI_GUIDE = "https://platform.openai.com/docs/guides/supervised-fine-tuning"
_OPENAI_VISION = "https://platform.openai.com/docs/guides/vision-fine-tuning"
_OPENAI_API = "https://github.com/openai/openai-openapi"
_NEBIUS_GUIDE = "https://docs.tokenfactory.nebius.com/post-training/datasets"

_REFUSED, _DOUBTFUL, _TAKEN, _UNKNOWN = Verdict.REFUSED, Verdict.DOUBTFUL, Verdict.TAKEN, Verdict.UNKNOWN

RULES: Final[tuple[VendorRule, ...]] = (
    VendorRule(
        ErrorKind.BOM,
        "a byte order mark at the start of the file",
        openai=_REFUSED,
        azure=_TAKEN,
        nebius=_UNKNOWN,
        sources=(
            "OpenAI: `Line 1 is not a dictionary`, https://github.com/OkGoDoIt/OpenAI-API-dotnet/issues/59",
            f"Azure asks for one, {_AZURE_GUIDE}",
        ),
    ),
    VendorRule(
        ErrorKind.LAST_TURN,
        "a supervised example that ends with another turn than the assistant's",
        openai=_REFUSED,
        azure=_REFUSED,
        nebius=_TAKEN,
        sources=(f"OpenAI: {_OPENAI_GUIDE}", f"Azure: {_AZURE_GUIDE}", f"Nebius: {_NEBIUS_GUIDE}"),
    ),
    VendorRule(
        ErrorKind.TOO_MANY_IMAGES,
        f"more than {MOST_IMAGES['openai']} images in an example (Azure: more than {MOST_IMAGES['azure']})",
        openai=_REFUSED,
        azure=_REFUSED,
        nebius=_UNKNOWN,
        sources=(f"OpenAI: {_OPENAI_VISION}", f"Azure: {_AZURE_VISION}"),
    ),
    VendorRule(
        ErrorKind.IMAGE_TOO_LARGE,
        "an image of more than 10 MB",
        openai=_REFUSED,
        azure=_REFUSED,
        nebius=_UNKNOWN,
        sources=(f"OpenAI: {_OPENAI_VISION}", f"Azure: {_AZURE_VISION}"),
    ),
    VendorRule(
        ErrorKind.TOOL_IN_OUTPUT,
        "a message of role `tool` in an output of a preference",
        openai=_REFUSED,
        azure=_TAKEN,
        nebius=_UNKNOWN,
        sources=(f"OpenAI: `FineTunePreferenceRequestInput` in {_OPENAI_API}", f"Azure: {_AZURE_DPO}"),
    ),
    VendorRule(
        WarningKind.IGNORED_FIELD,
        "a top-level field that the format does not have",
        openai=_REFUSED,
        azure=_DOUBTFUL,
        nebius=_DOUBTFUL,
        sources=(
            'OpenAI has failed a job with `Example 1 contains an extra "weight"`',
            "others ignore it: the data in it is not used",
        ),
    ),
    VendorRule(
        ErrorKind.SEVERAL_SYSTEM_MESSAGES,
        "more than one message of role `system` or `developer`",
        openai=_TAKEN,
        azure=_REFUSED,
        nebius=_UNKNOWN,
        sources=(f"Azure has refused such files; it takes the two roles for one, {_AZURE_REASONING}",),
    ),
    VendorRule(
        ErrorKind.CALL_WITHOUT_ID,
        "a tool call without `id`",
        openai=_REFUSED,
        azure=_TAKEN,
        nebius=_UNKNOWN,
        sources=(
            f"OpenAI: `ChatCompletionMessageToolCall` in {_OPENAI_API}",
            f"Azure's own example has none, {_AZURE_SCHEMA}",
        ),
    ),
    VendorRule(
        WarningKind.TOOL_SCHEMA,
        "tool schemas with `title`, `default: null` or a nullable `anyOf`, as pydantic writes them",
        openai=_TAKEN,
        azure=_DOUBTFUL,
        nebius=_TAKEN,
        sources=(f"Azure has failed whole files with `contains invalid schema`, {_AZURE_TOOLS}",),
    ),
)


def rules_for(endpoint: str) -> Endpoint:
    """Return whose rules a dataset for an endpoint is checked by.

    :param endpoint: the name of an endpoint, as a connection's host tells it; ``any`` is returned for one whose rules
        are not known.
    """
    for name in ENDPOINTS:
        if name == endpoint:
            return name
    return "any"
