"""Idempotency-Key: the same request makes one job, however often and however fast it is sent."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.errors import NotReady, Overloaded, RateLimited, StorageUnavailable, StoredTooMuch
from tasks.ids import now_ms
from tasks.ledger import keys
from tests.api.conftest import PROMPT, problem

KEY = {"Idempotency-Key": '"take-1"'}


def jobs_of(ledger, tenant: str = "acme") -> int:
    return ledger.redis.zcard(keys.tenant_jobs(tenant))


def test_a_replay_is_the_first_job_as_it_is_now(acme, ledger):
    first = acme.post("/v1/jobs", json=PROMPT, headers=KEY)
    acme.post(first.json["links"]["cancel"])
    again = acme.post("/v1/jobs", json=PROMPT, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json["id"] == first.json["id"] and again.json["status"] == "canceled"
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    assert jobs_of(ledger) == 1


def test_twenty_at_once_make_one_job(acme, ledger):
    """Twenty threads, one key, one job, twenty equal answers."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: acme.post("/v1/jobs", json=PROMPT, headers=KEY), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json["id"] for answer in answers}) == 1 == jobs_of(ledger)
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 19


def test_twenty_forms_with_a_file_at_once_make_one_job_and_one_object(acme, ledger, storage):
    """Some are told to ask again in a moment; none makes a second job or a second upload."""

    def send(_):
        form = {"kind": "transcribe", "audio": (io.BytesIO(b"RIFF" * 1000), "talk.wav")}
        return acme.post("/v1/jobs", data=form, headers=KEY)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer.status_code != 202:
            assert problem(answer, 409, "conflict")["retryable"] and answer.headers["Retry-After"] == "1"
    assert accepted and len({answer.json["id"] for answer in accepted}) == 1 == jobs_of(ledger)
    assert len(list(storage.list("tenants/acme/uploads/"))) == 1
    assert send(None).headers["Idempotency-Replayed"] == "true"


def test_another_request_with_the_same_key_is_refused(acme, ledger):
    acme.post("/v1/jobs", json=PROMPT, headers=KEY)
    answer = acme.post("/v1/jobs", json={**PROMPT, "priority": 1}, headers=KEY)
    problem(answer, 422, "idempotency_key_reused")
    assert jobs_of(ledger) == 1


def test_order_and_spacing_of_fields_make_no_other_request(acme):
    """The fingerprint is over fields, not over bytes; the key may stand in quotes or bare."""
    bodies = [
        b'{"kind":"generate","input":{"prompt":"x"},"params":{"seed":1,"top_k":2}}',
        b'{ "params": {"top_k": 2, "seed": 1}, "input": {"prompt": "x"}, "kind": "generate" }',
    ]
    answers = [
        acme.post("/v1/jobs", data=body, content_type="application/json", headers={"Idempotency-Key": key})
        for body, key in zip(bodies, ('"k"', "k"), strict=True)
    ]
    assert answers[0].json["id"] == answers[1].json["id"]


@pytest.mark.parametrize(("data", "status"), [(b"one", 202), (b"two", 422)])
def test_files_are_told_apart_by_what_is_in_them(acme, data, status):
    """Not by their names."""

    def send(content, name):
        return acme.post("/v1/jobs", data={"kind": "transcribe", "audio": (io.BytesIO(content), name)}, headers=KEY)

    assert send(b"one", "first.wav").status_code == 202
    assert send(data, "second.wav").status_code == status


def test_a_key_is_a_tenants_own(acme, rival):
    ids = {caller.post("/v1/jobs", json=PROMPT, headers=KEY).json["id"] for caller in (acme, rival)}
    assert len(ids) == 2


def test_a_key_whose_upload_failed_is_free_again(acme, app, monkeypatch):
    """The bucket was away: 503, and the next try with the same key is a first one."""
    from tasks.errors import StorageUnavailable

    jobs, form = app.extensions["backlot"].jobs, {"kind": "generate", "input": {"prompt": "x" * 40_000}}
    with monkeypatch.context() as broken:

        def refuse(*_):
            raise StorageUnavailable("the bucket did not answer PutObject")

        broken.setattr(jobs.storage, "put_stream", refuse)
        answer = acme.post("/v1/jobs", json=form, headers=KEY)
        problem(answer, 503, "storage_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert acme.post("/v1/jobs", json=form, headers=KEY).status_code == 202


def test_a_key_of_an_erased_job_is_not_used_again(acme):
    first = acme.post("/v1/jobs", json=PROMPT, headers=KEY).json
    acme.post(first["links"]["cancel"])
    acme.delete(first["links"]["self"])
    assert "erased" in problem(acme.post("/v1/jobs", json=PROMPT, headers=KEY), 409, "conflict")["detail"]


def refuse(error: Exception):
    def instead(*_, **__):
        raise error

    return instead


AWAY = StorageUnavailable("the bucket did not answer")
LONG = {"kind": "generate", "input": {"prompt": "x" * 40_000}}
REFUSALS = {
    "the bucket takes nothing": lambda jobs, m: m.setattr(jobs.storage, "put_stream", refuse(AWAY)),
    "the bucket tells nothing": lambda jobs, m: m.setattr(jobs.storage, "head", refuse(AWAY)),
    "the upload's place is refused": lambda jobs, m: m.setattr(jobs.ledger, "upload", refuse(StoredTooMuch(9, 9, 9))),
    "Redis is full by then": lambda jobs, m: m.setattr(jobs, "accept", refuse(Overloaded("Redis is 90 % full"))),
    "the minute is over by then": lambda jobs, m: m.setattr(jobs, "accept", refuse(RateLimited(1, 60))),
    "nobody foresaw it": lambda jobs, m: m.setattr(jobs, "accept", refuse(ZeroDivisionError())),
    "too many wait": lambda jobs, m: m.setattr(
        jobs.ledger, "settings", jobs.settings.model_copy(update={"max_waiting_jobs": 1})
    ),
    "the records are too large": lambda jobs, m: m.setattr(
        jobs.ledger, "settings", jobs.settings.model_copy(update={"max_record_bytes": 1})
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_key_of_a_refused_submit_is_free_again_and_what_was_stored_goes(acme, app, ledger, monkeypatch, why):
    """At once: the next try with the same key is a first one."""
    acme.submit()
    jobs = app.extensions["backlot"].jobs
    with monkeypatch.context() as broken:
        REFUSALS[why](jobs, broken)
        assert acme.post("/v1/jobs", json=LONG, headers=KEY).status_code in (429, 500, 503)
    stored = [name for name, at in ledger.redis.zrange(keys.UPLOADS, 0, -1, withscores=True) if at > now_ms() + 1000]
    assert stored == [], "nothing of it is to be kept a day"
    again = acme.post("/v1/jobs", json=LONG, headers=KEY)
    assert again.status_code == 202 and "Idempotency-Replayed" not in again.headers


def test_a_submit_whose_answer_was_lost_keeps_its_key_and_its_upload(acme, app, ledger, monkeypatch):
    """It was recorded: the next try finds it."""
    jobs = app.extensions["backlot"].jobs
    with monkeypatch.context() as lossy:
        recorded = jobs.accept

        def accept(*given):
            recorded(*given)
            raise NotReady("Redis did not answer (TimeoutError)")

        lossy.setattr(jobs, "accept", accept)
        problem(acme.post("/v1/jobs", json=LONG, headers=KEY), 503, "not_ready")
    ((_, asked_at),) = ledger.redis.zrange(keys.UPLOADS, 0, -1, withscores=True)
    assert asked_at > now_ms() + 60_000, "a submit that is late yet may name it"
    again = acme.post("/v1/jobs", json=LONG, headers=KEY)
    assert again.headers["Idempotency-Replayed"] == "true" and jobs_of(ledger) == 1
