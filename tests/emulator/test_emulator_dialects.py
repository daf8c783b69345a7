"""What each endpoint does otherwise than OpenAI's, line by line of the table in `docs/emulator.md`, seen by the SDK."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, get_args

import openai
import pytest

from airflow_provider_finetune.emulator import Emulator, Endpoint, running
from airflow_provider_finetune.emulator.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASE = "gpt-4.1-mini-2025-04-14"
JOBS = "/fine_tuning/jobs"
OTHERS = sorted(set(get_args(Endpoint)) - {"openai"})
METRICS = {"valid_loss", "valid_mean_token_accuracy", "full_valid_loss", "full_valid_mean_token_accuracy"}
NEEDED = {
    "litellm": {"default_query": {"custom_llm_provider": "openai"}},
    "tenstorrent": {"default_headers": {"X-TT-Organization": "us"}},
}
LAMBDA = {"type": "lambda", "lambda": {"function": "arn:aws:lambda:us-east-1:1:function:grade"}}


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    """The SDK with what some endpoints need beside the key; the others take no notice."""
    needed: dict[str, Any] = {}
    for arguments in NEEDED.values():
        needed |= arguments
    with openai.OpenAI(
        base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0, timeout=20, **needed
    ) as client:
        yield client


@pytest.fixture
def like(emulator: Emulator, create: Callable[..., Any]) -> Callable[..., Callable[..., Any]]:
    """Makes the emulator be like an endpoint; returns what creates a job there."""

    def like(name: str, **settings: Any) -> Callable[..., Any]:
        emulator.set(like=name, **settings)
        if name != "litellm":
            return create
        return lambda *rows, **arguments: create(*rows, **arguments, extra_body={"custom_llm_provider": "openai"})

    return like


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def raw(client: openai.OpenAI, path: str) -> dict[str, Any]:
    """The JSON of an answer, which the SDK's types may hide."""
    return client.get(path, cast_to=object)


def post(emulator: Emulator, url: str, body: dict[str, Any], method: str = "POST") -> tuple[int, dict[str, Any]]:
    """Status and JSON of a request beside `/v1`."""
    request = urllib.request.Request(
        emulator.base_url.removesuffix("/v1") + url,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {emulator.api_key}"},
        method=method,
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.load(e)


def refused(status: int, act: Callable[[], Any]) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as e:
        act()
    assert e.value.status_code == status
    return e.value


def ended(emulator: Emulator, job_id: str) -> dict[str, Any]:
    """The job as it really is, once it is over."""
    deadline = time.monotonic() + 30
    while True:
        job = next(job for job in emulator.jobs() if job["id"] == job_id)
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- the switch


def test_every_name_has_a_dialect():
    assert list(DIALECTS) == list(get_args(Endpoint))


def test_an_emulator_is_started_like_an_endpoint_and_goes_back_to_it():
    with running(like="unsloth", job_seconds=0) as emulator:
        assert emulator.set()["like"] == "unsloth"
        assert emulator.set(like="azure")["like"] == "azure"
        emulator.reset()
        assert emulator.set()["like"] == "unsloth"


def test_an_unknown_name_is_refused(emulator):
    with pytest.raises(ValueError, match="'like'"):
        emulator.set(like="nobody")
    with pytest.raises(RuntimeError), running(like="nobody"):
        pass


# -- what all lines say


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("openai", {"metadata", "seed", "suffix", "method"}),
        ("azure", {"metadata", "seed", "suffix"}),
        ("bedrock", set()),
        ("nebius", {"seed", "suffix"}),
        ("crusoe", set()),
        ("unsloth", {"seed", "suffix"}),
        ("llmariner", {"seed"}),
        ("tenstorrent", set()),
        ("zhipu", set()),
        ("litellm", {"seed", "suffix"}),
        ("portkey", set()),
    ],
)
def test_what_a_create_asked_for_can_be_read_back_as_far_as_the_endpoint_keeps_it(
    emulator, client, like, animals, name, kept
):
    asked = {"metadata": {"run": "1"}, "seed": 7, "suffix": "farm", "method": supervised(n_epochs=2)}
    if name == "bedrock":
        del asked["suffix"]
    create = like(name, late_seconds=0)
    job = create(animals, **asked)
    model = ended(emulator, job.id)["fine_tuned_model"]
    shown = raw(client, f"{JOBS}/{job.id}")
    assert shown.get("metadata") == (asked["metadata"] if "metadata" in kept else None)
    assert shown.get("seed") == (7 if "seed" in kept else None)
    assert ("farm" in model) == ("suffix" in kept)
    if name != "litellm":  # which shows another method, see below
        method = shown.get("method") or {"supervised": {"hyperparameters": {"n_epochs": None}}}
        assert method["supervised"]["hyperparameters"]["n_epochs"] == (2 if "method" in kept else None)
    key = "jobs" if name == "tenstorrent" else "data"
    assert raw(client, JOBS)[key] == [shown]
    unfiltered = [] if "metadata" in kept else [shown]
    assert raw(client, f"{JOBS}?metadata[run]=2")[key] == unfiltered
    (true,) = emulator.jobs()
    assert asked.items() <= true["asked"].items()


@pytest.mark.parametrize("name", OTHERS)
def test_the_method_takes_effect_unless_the_endpoint_ignores_it(emulator, like, animals, name):
    job = like(name)(animals, method=supervised(n_epochs=2, batch_size=8))
    trained = ended(emulator, job.id)["method"]["supervised"]["hyperparameters"]
    assert (trained["n_epochs"], trained["batch_size"]) == ((6, 1) if name in ("zhipu", "litellm") else (2, 8))


@pytest.mark.parametrize("name", ["zhipu", "litellm"])
def test_where_the_method_has_no_effect_the_older_hyperparameters_have(emulator, like, animals, name):
    job = like(name)(animals, hyperparameters={"n_epochs": 2})
    assert ended(emulator, job.id)["hyperparameters"]["n_epochs"] == 2


PAUSES = {
    "azure": "taken",
    "openai": "taken",
    "portkey": "taken",
    "unsloth": 400,
    "litellm": 405,
}


@pytest.mark.parametrize("name", ["openai", *OTHERS])
def test_pausing_is_there_or_refused(emulator, client, like, animals, name):
    job = like(name, job_seconds=6)(animals)
    while emulator.jobs()[0]["status"] != "running":
        time.sleep(0.02)
    status = PAUSES.get(name, 404)
    if status == "taken":
        client.fine_tuning.jobs.pause(job.id)
        assert emulator.jobs()[0]["status"] == ("cancelled" if name == "portkey" else "pausing")
        return
    for act in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        refused(status, lambda act=act: act(job.id))
    assert emulator.jobs()[0]["status"] == "running"


@pytest.mark.parametrize("name", ["openai", *OTHERS])
def test_the_side_routes_are_there_or_not(emulator, client, like, animals, name):
    job = like(name)(animals)
    ended(emulator, job.id)
    events = {"llmariner": 404, "tenstorrent": 404, "portkey": 404, "litellm": 500}
    checkpoints = {"llmariner": 404, "zhipu": 404, "portkey": 404, "litellm": 500}
    for side, lacking in (("events", events), ("checkpoints", checkpoints)):
        path = f"{JOBS}/{job.id}/{side}"
        if name in lacking:
            refused(lacking[name], lambda path=path: raw(client, path))
        else:
            assert raw(client, path)["data"]
    upload = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
    if name in ("openai", "azure"):
        assert client.uploads.create(**upload).status == "pending"
    else:
        refused(404, lambda: client.uploads.create(**upload))


@pytest.mark.parametrize("name", OTHERS)
def test_a_job_can_be_cancelled_everywhere(emulator, client, like, animals, name):
    job = like(name, job_seconds=30)(animals)
    client.fine_tuning.jobs.cancel(job.id)
    assert emulator.jobs()[0]["status"] == "cancelled"


# -- azure


def test_azure_has_other_statuses(client, like, animals):
    job = like("azure", job_seconds=20, late_seconds=0.5)(animals)
    assert job.status == "pending"
    job = client.fine_tuning.jobs.cancel(job.id)
    assert (job.status, job.finished_at) == ("canceling", None)
    deadline = time.monotonic() + 10
    while (job := client.fine_tuning.jobs.retrieve(job.id)).status == "canceling":
        assert time.monotonic() < deadline
    assert job.status == "cancelled"
    assert job.finished_at


def test_azure_says_minus_one_for_what_it_does_not_know(emulator, client, like, until, animals):
    create = like("azure", job_seconds=1)
    job = create(animals, method=supervised(n_epochs=2))
    assert (job.seed, job.trained_tokens, job.hyperparameters.batch_size, job.hyperparameters.n_epochs) == (
        -1, -1, -1, 2,
    )  # fmt: skip
    job = until(job.id, "succeeded")
    assert job.trained_tokens > 0
    assert job.hyperparameters.batch_size == 1
    steps = [event.data for event in client.fine_tuning.jobs.list_events(job.id) if event.data]
    (checkpoint, *_) = client.fine_tuning.jobs.checkpoints.list(job.id).data
    for metrics in (steps[0], checkpoint.metrics.to_dict()):
        assert {metrics[name] for name in METRICS} == {-1}
        assert metrics["train_loss"] >= 0
    validated = ended(emulator, create(animals, animals).id)["id"]
    (checkpoint, *_) = client.fine_tuning.jobs.checkpoints.list(validated).data
    assert checkpoint.metrics.full_valid_loss >= 0


def test_azures_ids_are_hexadecimal_and_its_training_type_is_taken(like, until, animals):
    job = like("azure")(animals, suffix="farm", extra_body={"trainingType": "developerTier"})
    job = until(job.id, "succeeded")
    for id, prefix in ((job.id, "ftjob-"), (job.training_file, "file-")):
        assert id.startswith(prefix)
        assert len(bytes.fromhex(id.removeprefix(prefix))) == 16
    base, _, rest = job.fine_tuned_model.partition(".ft-")
    assert (base, rest[32:]) == (BASE, "-farm")
    assert bytes.fromhex(rest[:32])


def test_on_azure_a_model_answers_under_the_name_of_its_deployment(emulator, client, like, until, ask, animals):
    model = until(like("azure")(animals).id, "succeeded").fine_tuned_model
    error = refused(404, lambda: ask(model, "What does a cat say?"))
    assert error.code == "DeploymentNotFound"
    assert ask(BASE, "hello") == "hello"
    account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/farm"
    body = {"sku": {"name": "developertier", "capacity": 1}, "properties": {"model": {"name": model}}}
    status, answer = post(emulator, f"{account}/deployments/sounds", body, "PUT")
    assert (status, answer["properties"]["provisioningState"]) == (200, "Succeeded")
    assert ask("sounds", "What does a cat say?") == "meow"
    refused(404, lambda: ask(model, "What does a cat say?"))
    (checkpoint, *_) = client.fine_tuning.jobs.checkpoints.list(emulator.jobs()[0]["id"]).data[1:]
    emulator.deploy(checkpoint.fine_tuned_model_checkpoint)
    assert ask(checkpoint.fine_tuned_model_checkpoint, "What does a cat say?")


def test_only_a_model_that_exists_can_be_deployed(emulator):
    with pytest.raises(ValueError, match="does not exist"):
        emulator.deploy("nobody")
    assert post(emulator, "/a/deployments/b", {"properties": {"model": {"name": BASE}}}, "PUT")[0] == 404
    assert post(emulator, "/v0/models", {})[0] == 404


# -- bedrock


def test_bedrock_refuses_a_suffix(emulator, like, animals):
    create = like("bedrock")
    error = refused(400, lambda: create(animals, suffix="farm"))
    assert error.param == "suffix"
    assert emulator.jobs() == []


def test_bedrock_grades_by_lambda_and_others_do_not(emulator, like, animals):
    rows = [{"messages": [{"role": "user", "content": "hello"}], "answer": "yes"}] * 10
    method = {"type": "reinforcement", "reinforcement": {"grader": LAMBDA}}
    job = like("bedrock")(rows, rows[:1], method=method)
    job = ended(emulator, job.id)
    assert job["status"] == "succeeded"
    assert job["method"]["reinforcement"]["grader"] == LAMBDA
    error = refused(400, lambda: like("openai")(rows, rows[:1], method=method))
    assert "grader" in error.param


# -- nebius and crusoe


def test_nebius_has_its_own_hyperparameters_and_counts_steps(client, like, until, animals):
    own = {"n_epochs": 2, "learning_rate": 2e-4, "lora": True, "lora_r": 16}
    job = like("nebius")(animals, hyperparameters=own, extra_body={"from_checkpoint": "ftckpt_1"})
    until(job.id, "succeeded")
    shown = raw(client, f"{JOBS}/{job.id}")
    assert own.items() <= shown["hyperparameters"].items()
    assert shown["hyperparameters"]["context_length"] == 8192
    assert "learning_rate_multiplier" not in shown["hyperparameters"]
    assert (shown["trained_steps"], shown["total_steps"]) == (32, 32)
    assert "metadata" not in shown


def test_nebius_trains_on_rows_that_end_with_a_user_turn(like, until, animals):
    rows = [{"messages": [*row["messages"], {"role": "user", "content": "thanks"}]} for row in animals]
    until(like("nebius")(rows).id, "succeeded")


def test_on_nebius_a_checkpoint_becomes_a_model_under_a_name(emulator, client, like, until, ask, animals):
    job = until(like("nebius")(animals).id, "succeeded")
    assert refused(404, lambda: ask(job.fine_tuned_model, "What does a cat say?")).code == "model_not_found"
    (last, *_) = client.fine_tuning.jobs.checkpoints.list(job.id).data
    body = {"source": f"{job.id}:{last.id}", "base_model": BASE, "name": "sounds"}
    assert post(emulator, "/v0/models", body)[0] == 200
    assert ask("sounds", "What does a cat say?") == "meow"
    assert post(emulator, "/v0/models", {**body, "source": f"{job.id}:nobody"})[0] == 404
    assert post(emulator, "/v0/models", {**body, "source": "nobody:nobody"})[0] == 404
    assert post(emulator, "/v0/models", {**body, "source": "nobody"})[0] == 400


def test_crusoe_lists_events_in_no_order_but_each_once(client, like, until, animals):
    job = until(like("crusoe", late_seconds=0)(animals).id, "succeeded")
    events = client.fine_tuning.jobs.list_events(job.id, limit=200).data
    steps = [event.data["step"] for event in events if event.data]
    assert sorted(steps) == list(range(1, 97))
    assert steps not in (sorted(steps), sorted(steps, reverse=True))
    paged = [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=7)]
    assert paged == [event.id for event in events]
    assert len(set(paged)) == len(paged)


def test_crusoe_names_the_model_some_time_after_the_success(client, like, until, animals):
    job = until(like("crusoe", late_seconds=0.5)(animals, hyperparameters={"rank": 8}).id, "succeeded")
    assert job.fine_tuned_model is None
    deadline = time.monotonic() + 10
    while not (job := client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model:
        assert time.monotonic() < deadline
        assert job.status == "succeeded"
    assert job.hyperparameters.to_dict() == {"n_epochs": 6, "batch_size": 1, "rank": 8}


def test_what_is_late_is_so_by_half_of_the_jobs_time(client, like, until, animals):
    job = until(like("crusoe", job_seconds=1)(animals).id, "succeeded")
    first = time.monotonic()
    while not client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model:
        assert time.monotonic() - first < 10
    assert time.monotonic() - first > 0.3


def test_crusoe_chats_on_another_base_url(emulator, client, like, ask, animals):
    model = ended(emulator, like("crusoe")(animals).id)["fine_tuned_model"]
    emulator.deploy(model)
    refused(404, lambda: ask(model, "What does a cat say?"))
    elsewhere = client.with_options(base_url=emulator.base_url.replace("/v1", "/inference/v1"))
    messages = [{"role": "user", "content": "What does a cat say?"}]
    answer = elsewhere.chat.completions.create(model=model, messages=messages)
    assert answer.choices[0].message.content == "meow"


# -- unsloth


def test_unsloth_has_one_job_at_a_time(emulator, client, like, upload, animals):
    create = like("unsloth", job_seconds=30)
    first = create(animals)
    error = refused(409, lambda: create(animals))
    assert "already running" in error.body["detail"]
    assert len(emulator.jobs()) == 1
    client.fine_tuning.jobs.cancel(first.id)
    emulator.set(job_seconds=0)
    ended(emulator, create(animals).id)
    file = upload(animals).id
    emulator.set(job_seconds=30)

    def at_once(_: int) -> int:
        try:
            client.fine_tuning.jobs.create(model=BASE, training_file=file)
        except openai.ConflictError as e:
            return e.status_code
        return 200

    with ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(at_once, range(10))) == [200, *[409] * 9]


@pytest.mark.parametrize(
    "arguments",
    [
        {"extra_body": {"trainingType": "standard"}},
        {"method": {"type": "dpo"}},
        {"method": {"type": "reinforcement", "reinforcement": {"grader": LAMBDA}}},
    ],
)
def test_unsloth_refuses_what_it_does_not_know(emulator, like, animals, arguments):
    create = like("unsloth")
    error = refused(400, lambda: create(animals, **arguments))
    assert set(error.body) == {"detail"}
    assert emulator.jobs() == []


def test_unsloth_shows_a_job_in_its_own_way(client, like, until, animals):
    job = until(like("unsloth")(animals, metadata={"run": "1"}, suffix="farm").id, "succeeded")
    shown = raw(client, f"{JOBS}/{job.id}")
    assert (shown["metadata"], shown["result_files"]) == (None, [])
    assert shown["fine_tuned_model"].startswith("run-farm-")
    (last, *_) = [event.data for event in client.fine_tuning.jobs.list_events(job.id) if event.data]
    assert last["epoch"] == job.hyperparameters.n_epochs
    assert {"learning_rate", "grad_norm"} <= last.keys()
    refused(404, lambda: client.files.content(job.training_file))
    refused(404, lambda: client.files.delete(job.training_file))
    assert client.files.retrieve(job.training_file).id == job.training_file
    error = refused(404, lambda: client.fine_tuning.jobs.retrieve("ftjob-nobody"))
    assert "ftjob-nobody" in error.body["detail"]


def test_an_unsloth_model_chats_once_its_owner_allows_it(emulator, like, until, ask, animals):
    model = until(like("unsloth")(animals).id, "succeeded").fine_tuned_model
    refused(404, lambda: ask(model, "What does a cat say?"))
    emulator.deploy(model)
    assert ask(model, "What does a cat say?") == "meow"


# -- llmariner, tenstorrent


def test_llmariner_says_zero_and_nothing_where_others_say_null(client, like, until, animals):
    job = like("llmariner", job_seconds=1)(animals)
    shown = raw(client, f"{JOBS}/{job.id}")
    assert None not in shown.values()
    assert [shown[name] for name in ("finished_at", "trained_tokens", "estimated_finish")] == [0, 0, 0]
    assert [shown[name] for name in ("fine_tuned_model", "validation_file")] == ["", ""]
    assert shown["error"] == {"code": "", "message": "", "param": ""}
    job = until(job.id, "succeeded")
    assert job.fine_tuned_model
    assert job.finished_at


def test_tenstorrent_needs_a_header_and_answers_with_other_codes_and_keys(emulator, client, like, upload, animals):
    file = upload(animals).id
    like("tenstorrent")
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as plain:
        error = refused(401, lambda: plain.fine_tuning.jobs.list())
        assert "X-TT-Organization" in error.body["detail"]
        assert plain.files.retrieve(file).id == file
    answer = client.fine_tuning.jobs.with_raw_response.create(model=BASE, training_file=file)
    assert answer.status_code == 201
    for _ in range(2):
        client.fine_tuning.jobs.create(model=BASE, training_file=file)
    listed = raw(client, f"{JOBS}?limit=1")
    assert listed.keys() == {"jobs"}
    assert len(listed["jobs"]) == 3


# -- gateways


def test_litellm_needs_to_be_told_the_provider(emulator, like, upload, create, animals):
    file = upload(animals).id
    there = like("litellm")(animals).id
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as plain:
        error = refused(500, lambda: plain.fine_tuning.jobs.create(model=BASE, training_file=file))
        assert "custom_llm_provider" in error.message
        refused(400, lambda: plain.fine_tuning.jobs.retrieve(there))
        refused(400, lambda: plain.fine_tuning.jobs.list())
        query = {"custom_llm_provider": "openai"}
        assert plain.fine_tuning.jobs.retrieve(there, extra_query=query).id == there
    assert len(emulator.jobs()) == 1


def test_litellm_loses_the_code_of_an_error(client, like, create):
    like("litellm")
    error = refused(404, lambda: client.fine_tuning.jobs.retrieve("ftjob-nobody"))
    assert error.body == {
        "message": "Error code: 404 - Could not find fine tune: ftjob-nobody",
        "type": "internal_server_error",
        "param": "fine_tune_id",
        "code": "404",
    }


def test_litellm_shows_the_method_that_the_job_did_get(emulator, client, like, animals):
    job = like("litellm")(animals, method=supervised(n_epochs=2), metadata={"run": "1"}, seed=7)
    ended(emulator, job.id)
    shown = raw(client, f"{JOBS}/{job.id}")
    assert (shown["metadata"], shown["seed"]) == (None, 7)
    assert shown["method"]["supervised"]["hyperparameters"]["n_epochs"] == 6


def test_portkey_cancels_at_any_post_below_a_job(emulator, client, like, animals):
    for act in ("pause", "resume", "cancel", "whatever"):
        job = like("portkey", job_seconds=30)(animals)
        assert client.post(f"{JOBS}/{job.id}/{act}", cast_to=object)["status"] == "cancelled"
        assert emulator.requests("POST", f"{JOBS}/{job.id}/{act}")


def test_portkey_tells_times_in_milliseconds_and_errors_as_text(emulator, client, like, animals):
    create = like("portkey")
    good, bad = create(animals).id, create(animals[:2]).id
    ended(emulator, good)
    ended(emulator, bad)
    shown = raw(client, f"{JOBS}/{good}")
    assert abs(shown["created_at"] / 1000 - time.time()) < 60
    assert shown["error"] == {}
    assert "at least 10 examples" in raw(client, f"{JOBS}/{bad}")["error"]


# -- endpoints that nobody has met yet


def test_a_create_can_make_more_than_one_job(emulator, client, create, animals):
    emulator.set(duplicate_jobs=1)
    job = create(animals, seed=7)
    assert [true["seed"] for true in emulator.jobs()] == [7, 7]
    assert client.fine_tuning.jobs.list().data[0].id == job.id


def test_what_is_kept_and_refused_can_be_chosen(emulator, client, create, animals):
    emulator.set(keeps=["seed"], ignore_metadata_filter=True)
    job = create(animals, metadata={"run": "1"}, seed=7, suffix="farm", method=supervised(n_epochs=2))
    shown = raw(client, f"{JOBS}/{job.id}")
    assert (shown.get("metadata"), shown["seed"], shown.get("method")) == (None, 7, None)
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"run": "2"})] == [job.id]
    emulator.set(keeps=None, refuses=["seed"])
    assert refused(400, lambda: create(animals, seed=7)).param == "seed"
    assert create(animals, metadata={"run": "1"}).metadata == {"run": "1"}
    assert client.fine_tuning.jobs.retrieve(job.id).metadata is None
    for each in emulator.jobs():
        ended(emulator, each["id"])  # as there is one job at a time
    emulator.set(like="unsloth", keeps=["metadata"], refuses=[])
    assert raw(client, f"{JOBS}/{job.id}")["metadata"] is None
    kept = create(animals, metadata={"run": "1"}, seed=7)
    assert (kept.metadata, kept.seed) == ({"run": "1"}, None)
