"""What is known of endpoints, and how one is chosen."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.endpoints import ENDPOINTS, Endpoint, endpoint_for


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OPENAI.COM/v1/", "openai"),
        ("https://my-resource.openai.azure.com/openai/v1", "azure"),
        ("https://my-resource.services.ai.azure.com/openai/v1/", "azure"),
        ("https://bedrock-mantle.us-west-2.api.aws/v1", "bedrock"),
        ("https://api.tokenfactory.nebius.com/v1/", "nebius"),
        ("https://api.studio.nebius.ai/v1", "nebius"),
        ("https://open.bigmodel.cn/api/paas/v4", "zhipu"),
        ("https://api.portkey.ai/v1", "portkey"),
        ("http://localhost:8000/v1", ""),
        ("https://api.openai.com.example.com/v1", ""),
        ("https://example.com/api.openai.com", ""),
        ("https://notapi.openai.com.evil.example/v1", ""),
        ("not a url", ""),
    ],
)
def test_an_endpoint_is_known_by_its_whole_host(base_url: str, name: str) -> None:
    assert endpoint_for(base_url).name == name


def test_the_connections_word_goes_before_its_host() -> None:
    assert endpoint_for("https://gateway.example.com/v1", "Portkey") is ENDPOINTS["portkey"]
    assert endpoint_for("https://api.openai.com/v1", "litellm") is ENDPOINTS["litellm"]


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'portkay' is not known; expected one of openai, azure, .*portkey"):
        endpoint_for("https://gateway.example.com/v1", "portkay")


def test_an_endpoint_that_is_not_known_can_do_everything() -> None:
    assert endpoint_for("https://models.example.com/v1") == Endpoint()
    assert not Endpoint().cannot
