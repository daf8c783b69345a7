"""What Airflow shows of this provider (``airflow providers get airflow-provider-finetune``)."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Fine-tuning"
_ASSET_URIS = [{"schemes": ["finetune"], "handler": "airflow_provider_finetune.assets.sanitize_uri"}]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-finetune",
        "name": "Fine-tuning",
        "description": "Fine-tuning jobs over the OpenAI fine-tuning protocol, on any endpoint that serves it.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://platform.openai.com/docs/api-reference/fine-tuning",
                "tags": ["service"],
            }
        ],
        "hooks": [_entry("hooks.fine_tuning")],
        "operators": [_entry("operators.job", "operators.dataset", "operators.model")],
        "sensors": [_entry("sensors.job")],
        "triggers": [_entry("triggers.job", "triggers.endpoint")],
        "extra-links": [
            "airflow_provider_finetune.links.FineTuningJobLink",
            "airflow_provider_finetune.links.TrainingLink",
            "airflow_provider_finetune.links.EvaluationLink",
            "airflow_provider_finetune.links.PromotionLink",
        ],
        "asset-uris": _ASSET_URIS,
        "dataset-uris": _ASSET_URIS,  # as Airflow 2 calls them
        "config": {
            "finetune": {
                "description": "Settings of airflow-provider-finetune.",
                "options": {
                    "requests_per_minute": {
                        "description": (
                            "The most requests a minute that one triggerer sends to one connection's endpoint while "
                            "tasks wait for fine-tuning jobs, however many they are."
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "300",
                    }
                },
            }
        },
    }


def _entry(*modules: str) -> dict[str, Any]:
    return {
        "integration-name": _INTEGRATION,
        "python-modules": [f"airflow_provider_finetune.{module}" for module in modules],
    }
