"""How large an answer may be: counted as it is decoded, whatever it is when it is sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.hooks.bounds import bounded
from airflow_provider_finetune.hooks.size import ERROR_BYTES, Incomprehensible, Size, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

JOB = {"id": "ftjob-1", "status": "running"}
#: What all answers here may have.
SIZE = Size(100_000, 1000)
raw_deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = raw_deflate.compress(json.dumps(JOB).encode()) + raw_deflate.flush()


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Ask for a job, sync or async, and get this for an answer."""

    def ask(pieces: Pieces, status: int = 200, **headers: str) -> Any:
        def answer(_: httpx.Request) -> httpx.Response:
            given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
            return httpx.Response(status, headers=given, stream=pieces)

        more: Any = {"api_key": "none", "base_url": "http://endpoint/v1", "max_retries": 0}
        transport = httpx.MockTransport(answer)
        if request.param == "sync":
            with openai.OpenAI(http_client=httpx.Client(transport=transport), **more) as client:
                return bounded(client, SIZE).fine_tuning.jobs.retrieve("ftjob-1").id

        async def asked() -> Any:
            async with openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=transport), **more) as client:
                return (await bounded(client, SIZE).fine_tuning.jobs.retrieve("ftjob-1")).id

        return asyncio.run(asked())

    return ask


def test_a_bomb_is_given_up_when_it_is_over_the_bound_and_its_rest_is_not_read(ask: Callable[..., Any]) -> None:
    packed = gzip.compress(b" " * 5_000_000)
    pieces = Pieces([packed[at : at + 300] for at in range(0, len(packed), 300)])
    with pytest.raises(TooLarge):
        ask(pieces, content_encoding="gzip")
    assert pieces.taken <= 2


def test_crumbs_count_for_more_than_their_bytes(ask: Callable[..., Any]) -> None:
    pieces = Pieces([b" "] * 10_000)
    with pytest.raises(TooLarge):
        ask(pieces)
    assert pieces.taken < 500


def test_what_is_compressed_to_nothing_ends_too(ask: Callable[..., Any]) -> None:
    pieces = Pieces([zlib.compressobj().compress(b""), *[b"\x00\x00\x00\xff\xff" * 1000] * 100])
    with pytest.raises(TooLarge):
        ask(pieces, content_encoding="deflate")
    assert pieces.taken < 50


def test_values_are_counted_before_anything_parses_them(ask: Callable[..., Any]) -> None:
    with pytest.raises(TooLarge, match="1,000 values"):
        ask(Pieces([b"[" + b"{}," * 2000 + b"1]"]))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 300])
def test_an_encoding_that_nobody_asked_for_is_no_answer(ask: Callable[..., Any], encoding: str) -> None:
    with pytest.raises(Incomprehensible) as error:
        ask(Pieces([b"x"]), content_encoding=encoding)
    assert len(str(error.value)) < 200


def test_an_answer_that_is_not_what_its_encoding_says_is_none(ask: Callable[..., Any]) -> None:
    with pytest.raises(Incomprehensible):
        ask(Pieces([b"no gzip"]), content_encoding="gzip")


def test_a_long_error_is_cut_and_keeps_its_status(ask: Callable[..., Any]) -> None:
    pieces = Pieces([b"x" * 1000] * 1000)
    with pytest.raises(openai.NotFoundError) as error:
        ask(pieces, status=404)
    assert len(error.value.response.content) <= ERROR_BYTES
    assert pieces.taken < 100


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(json.dumps(JOB).encode())),
        ("deflate", zlib.compress(json.dumps(JOB).encode())),
        ("deflate", RAW_DEFLATE),
        ("identity", json.dumps(JOB).encode()),
    ],
)
def test_what_is_asked_for_is_decoded_however_it_is_cut(ask: Callable[..., Any], encoding: str, body: bytes) -> None:
    for cut in (1, 7, len(body)):
        pieces = Pieces([body[at : at + cut] for at in range(0, len(body), cut)])
        assert ask(pieces, content_encoding=encoding) == "ftjob-1"


def test_texts_are_utf_8_whatever_is_announced(ask: Callable[..., Any]) -> None:
    assert ask(Pieces([json.dumps(JOB).encode()]), content_type="application/json; charset=punycode") == "ftjob-1"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 400), st.sampled_from(["gzip", "deflate"]))
def test_whatever_is_sent_comes_out_as_it_went_in(body: bytes, cut: int, encoding: str) -> None:
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    pieces = Pieces([packed[at : at + cut] for at in range(0, len(packed), cut)])
    head = {"content-encoding": encoding, "content-type": "application/octet-stream"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=head, stream=pieces))
    client = openai.OpenAI(api_key="none", base_url="http://endpoint/v1", http_client=httpx.Client(transport=transport))
    with client:
        assert bounded(client, Size(10**6, 10**6)).files.content("file-1").content == body
