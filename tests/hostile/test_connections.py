"""What can never go well ends at once and says why; what may go well later is waited through."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained
from tests.odd_endpoint import answering, of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = {"id": "ftjob-1", "status": "running"}


def ask(monkeypatch: pytest.MonkeyPatch, **connection: Any) -> Any:
    fields = {"conn_type": "openai", "password": "a-key-nobody-checks", "host": "http://127.0.0.1:9/v1", **connection}
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps(fields))
    hook = FineTuningHook(conn_id="odd")
    with explained("retrieve the job", reading=True):
        hook.conn = hook.conn.with_options(max_retries=0)
        return hook.retrieve_job("ftjob-1")


@pytest.mark.parametrize("host", ["endpoint/v1", "localhost:8000/v1", "ftp://endpoint/v1", "https:///v1", "//endpoint"])
def test_a_host_without_a_scheme_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(RequestRefused, match="begins with https://"):
        ask(monkeypatch, host=host)


@pytest.mark.parametrize("host", ["https://user:secret-word@[::1/v1", "http://endpoint:port/v1", "http://a\x00b/"])
def test_a_host_that_is_no_url_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(RequestRefused, match="its host is no URL") as error:
        ask(monkeypatch, host=host)
    assert "secret-word" not in str(error.value)


@pytest.mark.parametrize("password", ["  a-key\n", "\ta-key\r\n"])
def test_spaces_and_line_ends_around_a_key_are_taken_off(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    with answering(lambda *_: of(JOB)) as server:
        assert ask(monkeypatch, host=server.base_url, password=password).status == "running"


@pytest.mark.parametrize("password", ["half\nof-it", "two words", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_takes_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    with pytest.raises(RequestRefused, match="the API key") as error:
        ask(monkeypatch, password=password)
    assert password not in str(error.value)


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """URL of a server whose certificate nobody trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, suppress(OSError):
                    context.wrap_socket(client, server_side=True).close()

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://localhost:{server.getsockname()[1]}/v1"
        server.shutdown(socket.SHUT_RDWR)
        serving.join()


def test_an_untrusted_certificate_is_refused_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, untrusted: str
) -> None:
    with pytest.raises(RequestRefused, match=r"certificate is not trusted: self.signed certificate.*SSL_CERT_FILE"):
        ask(monkeypatch, host=untrusted)


WORKLOAD = {
    "auth_type": "workload_identity",
    "identity_provider_id": "idp",
    "service_account_id": "account",
    "workload_identity_provider": "kubernetes",
}


def test_a_token_file_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = str(tmp_path / "token")
    with pytest.raises(RequestRefused, match="token of the connection's workload identity cannot be read"):
        ask(monkeypatch, extra={**WORKLOAD, "token_file_path": missing})


def test_a_token_exchange_that_answers_500_is_waited_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> Any:
        raise openai.OpenAIError("Token exchange failed with status 500")

    monkeypatch.setattr("openai.auth._workload.WorkloadIdentityAuth._fetch_token_from_exchange", fail)
    with pytest.raises(EndpointUnreachable, match="Token exchange failed with status 500"):
        ask(monkeypatch, extra=WORKLOAD)


@pytest.mark.parametrize(
    "headers", [{"X-Team": "line\nend"}, {"X-Team": "café \u2028"}], ids=["a line end", "no Latin letter"]
)
def test_a_header_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    with answering(lambda *_: of(JOB)) as server, pytest.raises((RequestRefused, EndpointUnreachable)):
        ask(monkeypatch, host=server.base_url, extra={"openai_client_kwargs": {"default_headers": headers}})
    assert server.requests == []
