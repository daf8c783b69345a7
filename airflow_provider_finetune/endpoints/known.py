"""The endpoints that are known, one entry each. State of November 2026; docs/endpoints.md has the sources."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAUSING = frozenset({"pause", "resume"})
_NO_SIDE_ROUTES = _PAUSING | {"events", "checkpoints"}


class Endpoint(NamedTuple):
    """What is known of an endpoint.

    :param name: its name in a connection's extra, ``{"finetune": {"endpoint": "azure"}}``; empty when it is not known.
    :param title: its name for people.
    :param hosts: regular expression for the hosts of its base URLs; empty for what people host themselves.
    :param cannot: what it does not do: ``pause``, ``resume``, ``events``, ``checkpoints``; or takes for something
        else, or refuses, or ignores: ``suffix``, ``method``.
    :param keeps_metadata: whether it is known to show the metadata that a job was created with.
    :param one_at_a_time: whether it refuses a job while another one runs.
    :param deploy: how to make a fine-tuned model answer there; empty where it answers at once.
    :param advice: what to do about an error, by its code or by words of its message, in lower case.
    """

    name: str = ""
    title: str = "this endpoint"
    hosts: str = ""
    cannot: frozenset[str] = frozenset()
    keeps_metadata: bool = False
    one_at_a_time: bool = False
    deploy: str = ""
    advice: Mapping[str, str] = MappingProxyType({})

    def told(self) -> str:
        """Return what it is taken for, for people."""
        if not self.name:
            return "It is none of the endpoints that are known, and is taken to do all that the API describes."
        cannot = f", which cannot do, or ignores: {', '.join(sorted(self.cannot))}" if self.cannot else ""
        return f"It is taken for {self.title}{cannot}."


UNKNOWN = Endpoint()
ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        endpoint.name: endpoint
        for endpoint in (
            Endpoint("openai", "OpenAI", r"api\.openai\.com", keeps_metadata=True),
            Endpoint(
                "azure",
                "Azure OpenAI",
                r".+\.(openai\.azure\.com|cognitiveservices\.azure\.com|services\.ai\.azure\.com)",
                keeps_metadata=True,
                deploy=(
                    "Deploy it first: PUT https://management.azure.com/subscriptions/{subscription}/resourceGroups/"
                    "{group}/providers/Microsoft.CognitiveServices/accounts/{resource}/deployments/{name}"
                    "?api-version=2024-10-01, and ask the deployment by its name. A deployment costs by the hour; "
                    "sku developertier is free of that, for 24 hours."
                ),
                advice=MappingProxyType(
                    {
                        "does not support fine-tuning": (
                            "On Azure this may depend on the kind of training: try "
                            'extra_body={"trainingType": "GlobalStandard"} (or "Standard", "Developer").'
                        )
                    }
                ),
            ),
            Endpoint("bedrock", "Amazon Bedrock", r"bedrock-mantle\..+\.api\.aws", cannot=_PAUSING | {"suffix"}),
            Endpoint(
                "nebius",
                "Nebius Token Factory",
                r"(.+\.)?(tokenfactory|studio)\.nebius\.(com|ai)",
                cannot=_PAUSING,
                deploy=(
                    'Deploy it first: POST {base URL without /v1}/v0/models {"source": "<job id>:<checkpoint id>", '
                    '"base_model": …, "name": …}, and ask it by that name.'
                ),
            ),
            Endpoint(
                "crusoe",
                "Crusoe",
                r"(.+\.)?crusoe(cloud)?\.(ai|com)",
                cannot=_PAUSING,
                deploy="Deploy it first through Crusoe's own API; it answers on another base URL than the jobs.",
            ),
            Endpoint(
                "unsloth",
                "Unsloth Studio",
                cannot=_PAUSING,
                one_at_a_time=True,
                deploy="Load it first: its owner switches on that chats load fine-tuned models, or loads it there.",
            ),
            Endpoint("llmariner", "LLMariner", cannot=_NO_SIDE_ROUTES),
            Endpoint("tenstorrent", "the Tenstorrent inference server", cannot=_PAUSING | {"events"}),
            Endpoint("zhipu", "Zhipu", r"open\.bigmodel\.cn|api\.z\.ai", cannot=_PAUSING | {"checkpoints", "method"}),
            Endpoint("litellm", "the LiteLLM proxy", cannot=_NO_SIDE_ROUTES | {"method"}),
            Endpoint("portkey", "the Portkey gateway", r"api\.portkey\.ai", cannot=_NO_SIDE_ROUTES),
        )
    }
)


def endpoint_for(base_url: str, name: str | None = None) -> Endpoint:
    """Return what is known of the endpoint of a connection.

    :param base_url: the connection's base URL.
    :param name: the name that the connection's extra gives, which goes before the host.
    :raises ValueError: no endpoint has that name.
    """
    if name:
        if name.lower() not in ENDPOINTS:
            raise ValueError(f"endpoint {name!r} is not known; expected one of {', '.join(ENDPOINTS)}, or none")
        return ENDPOINTS[name.lower()]
    host = (urlsplit(base_url).hostname or "").lower()
    return next((one for one in ENDPOINTS.values() if one.hosts and re.fullmatch(one.hosts, host)), UNKNOWN)
