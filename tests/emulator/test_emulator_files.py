"""Files and uploads at the emulator."""

from __future__ import annotations

import hashlib
import io
import json
import time

import openai
import pytest

BASE = "gpt-4.1-mini-2025-04-14"


def test_a_file_comes_back_as_it_was_sent(client):
    data = "Grüße\n".encode() * 10
    file = client.files.create(file=("train.jsonl", data), purpose="fine-tune")
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(data),
        "train.jsonl",
        "fine-tune",
        "processed",
    )
    assert client.files.content(file.id).read() == data
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id).id == file.id
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.retrieve(file.id)


def test_files_are_listed_in_pages_by_purpose_and_order(client):
    made = [client.files.create(file=(f"{i}.jsonl", b"{}"), purpose="fine-tune").id for i in range(5)]
    other = client.files.create(file=("notes.txt", b"x"), purpose="user_data").id
    assert [file.id for file in client.files.list()] == [other, *made[::-1]]
    assert [file.id for file in client.files.list(purpose="fine-tune", limit=2)] == made[::-1]
    page = client.files.list(purpose="fine-tune", order="asc", limit=2)
    assert [file.id for file in page.data] == made[:2]
    assert (page.has_more, page.first_id, page.last_id) == (True, made[0], made[1])
    assert client.files.list(purpose="batch").data == []


def test_a_file_can_expire(client):
    file = client.files.create(
        file=("a.jsonl", b"{}"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError) as e:
        client.files.create(
            file=("a.jsonl", b"{}"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 10}
        )
    assert e.value.param == "expires_after.seconds"


def test_training_data_has_to_be_called_jsonl(client):
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        client.files.create(file=("train.csv", b"a,b"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("train.jsonl", b"{}"), purpose="magic")
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        client.uploads.create(filename="train.csv", purpose="fine-tune", bytes=1, mime_type="text/csv")


def test_only_training_data_trains(client, animals):
    data = "".join(json.dumps(row) + "\n" for row in animals).encode()
    file = client.files.create(file=("train.jsonl", data), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.fine_tuning.jobs.create(model=BASE, training_file=file.id)


def test_a_large_file_does_not_hold_up_the_server(client):
    size = 80 * 1024 * 1024
    started = time.monotonic()
    file = client.files.create(file=("big.jsonl", io.BytesIO(b"0123456789abcde\n" * (size // 16))), purpose="fine-tune")
    assert file.bytes == size
    assert time.monotonic() - started < 20


def test_an_upload_in_parts_becomes_a_file_that_trains(client, until, animals):
    data = "".join(json.dumps(row) + "\n" for row in animals).encode()
    upload = client.uploads.create(
        filename="train.jsonl", purpose="fine-tune", bytes=len(data), mime_type="application/jsonl"
    )
    assert (upload.status, upload.file) == ("pending", None)
    # Sent in the wrong order, put together in the right one.
    last = client.uploads.parts.create(upload.id, data=data[700:])
    first = client.uploads.parts.create(upload.id, data=data[:700])
    done = client.uploads.complete(
        upload.id, part_ids=[first.id, last.id], md5=hashlib.md5(data, usedforsecurity=False).hexdigest()
    )
    assert done.status == "completed"
    assert client.files.content(done.file.id).read() == data
    job = client.fine_tuning.jobs.create(model=BASE, training_file=done.file.id)
    assert until(job.id, "succeeded")
    with pytest.raises(openai.BadRequestError, match="completed, not pending"):
        client.uploads.cancel(upload.id)


def test_the_sdk_uploads_in_chunks(client, tmp_path):
    data = b"x" * 3_000_000
    done = client.uploads.upload_file_chunked(
        file=data,
        filename="a.jsonl",
        bytes=len(data),
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=10**6,
    )
    assert (done.status, done.file.bytes) == ("completed", len(data))


def test_an_upload_that_does_not_add_up_is_refused(client):
    upload = client.uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=5, mime_type="application/jsonl")
    part = client.uploads.parts.create(upload.id, data=b"12345").id
    few = client.uploads.parts.create(upload.id, data=b"1").id
    for part_ids, md5, message in (
        ([part, "part_unknown"], None, "Unknown part"),
        ([few], None, "1 bytes"),
        ([part, part], None, "twice"),
        ([part], "0" * 32, "MD5"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            client.uploads.complete(upload.id, part_ids=part_ids, **({"md5": md5} if md5 else {}))
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        client.uploads.parts.create(upload.id, data=b"1")
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_unknown")


def test_a_deleted_result_file_is_gone(client, create, until, animals):
    job = until(create(animals).id, "succeeded")
    client.files.delete(job.result_files[0])
    with pytest.raises(openai.NotFoundError):
        client.files.content(job.result_files[0])
    assert client.fine_tuning.jobs.retrieve(job.id).result_files == job.result_files
