"""The asset of a champion: ``finetune://support-bot`` changes when the champion of ``support-bot`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_finetune.models.history import check_name

if TYPE_CHECKING:
    from urllib.parse import SplitResult

#: All promotions and rollbacks go through this asset alias, whatever the name.
ALIAS = "finetune-champions"


def champion_uri(name: str) -> str:
    """Return the URI of the asset of a champion."""
    return f"finetune://{name}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check the URI of an asset in a DAG file; Airflow calls it for the scheme ``finetune``.

    :raises ValueError: it is not the URI of a champion.
    """
    check_name(uri.netloc)
    if uri.path.strip("/") or uri.query or uri.fragment:
        raise ValueError(f"URI finetune://{uri.netloc} must end after the name of the champion")
    return uri._replace(path="")
