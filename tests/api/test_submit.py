"""POST /v1/jobs: what is accepted, and what becomes of it."""

import io
import json

import pytest

from tasks.job import Fixed
from tasks.ledger import keys
from tasks.service.intake import RECORDED_MAX_BYTES
from tests.api.conftest import PROMPT, as_job, in_seconds, problem


def fixed_of(ledger, job_id: str) -> Fixed:
    return Fixed.model_validate_json(ledger.record(job_id)["fixed"])


def test_a_submit_is_answered_with_the_queued_job_and_where_it_is(acme):
    """202, Location, Retry-After, and the job as the document describes it."""
    answer = acme.post("/v1/jobs", json=PROMPT)
    job = as_job(answer)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job.id}" == job.links.self
    assert int(answer.headers["Retry-After"]) > 0
    assert (job.status, job.done, job.kind, job.model) == ("queued", False, "generate", "transformer")


def test_the_answer_is_what_a_look_shows_a_moment_later(acme):
    """The 202 is made without reading Redis, and yet says the same, but for place and clocks."""
    submitted = acme.submit(priority=3, metadata={"scene": [1, "ä"]}, params={"max_tokens": 5}, max_attempts=2)
    looked = acme.get(submitted["links"]["self"]).json
    differ = {name for name in looked if looked[name] != submitted[name]}
    assert differ <= {"queue_position", "created_at", "start_by"}
    assert looked["queue_position"] == 1


def test_the_record_and_a_doorbell_are_there(acme, ledger):
    """Record first, then the doorbell in Celery's list."""
    job = acme.submit()
    assert ledger.redis.zrange(keys.line("gpu.generate:transformer"), 0, -1) == [job["id"]]
    assert ledger.redis.llen("gpu.generate") == 1


def test_a_job_to_start_later_is_scheduled(acme):
    """start_at in the future: scheduled, and the time to start by is counted from there."""
    start_at = in_seconds(3600)
    job = acme.submit(start_at=start_at, queue_ttl_s=60)
    assert job["status"] == "scheduled" == acme.get(job["links"]["self"]).json["status"]
    assert job["start_at"] == start_at and job["start_by"] > start_at


def test_limits_come_from_model_and_settings(acme, ledger, settings):
    """What the caller leaves out is the model's and the operator's."""
    fixed = fixed_of(ledger, acme.submit()["id"])
    assert fixed.run_timeout_s == 300 and fixed.max_attempts == settings.max_attempts
    assert (fixed.queue_ttl_s, fixed.retention_s, fixed.deadline_s) == (
        settings.queue_ttl_s,
        settings.retention_s,
        None,
    )


def test_a_long_text_goes_to_the_bucket(acme, ledger, storage):
    """Above 32 KiB a text is an upload of the tenant, and the record stays small."""
    text = "ü" * 20_000
    fixed = fixed_of(ledger, acme.submit(input={"prompt": text})["id"])
    (upload,) = fixed.uploads.values()
    assert storage.get_bytes(upload.key).decode() == text
    assert fixed.input == {"prompt": {"url": f"upload:{next(iter(fixed.uploads))}"}}
    assert upload.key.startswith("tenants/acme/uploads/") and upload.etag == storage.head(upload.key).etag


def test_long_texts_and_queries_of_urls_are_not_shown(acme):
    """A URL's query may hold a signature; it appears in no answer."""
    url = "https://example.com/act.txt?X-Amz-Signature=secret"
    assert acme.submit(input={"prompt": {"url": url}})["input"] == {"prompt": {"url": "https://example.com/act.txt"}}
    shown = acme.submit(input={"prompt": "word " * 1000})["input"]["prompt"]
    assert len(shown) <= 1001 and shown.endswith("…")


class TestForms:
    """multipart/form-data."""

    def test_a_file_becomes_an_upload_with_its_size_and_etag(self, acme, ledger, storage):
        answer = acme.post(
            "/v1/jobs",
            data={
                "kind": "transcribe",
                "audio": (io.BytesIO(b"RIFF1234"), "talk.wav"),
                "params": '{"language": "en"}',
                "priority": "4",
                "metadata": '{"a": 1}',
            },
        )
        job = as_job(answer)
        assert (answer.status_code, job.priority, job.metadata, job.params) == (202, 4, {"a": 1}, {"language": "en"})
        ((upload_id, upload),) = fixed_of(ledger, job.id).uploads.items()
        assert job.input == {"audio": f"upload:{upload_id}"}
        assert storage.get_bytes(upload.key) == b"RIFF1234" and upload.bytes == 8
        assert upload.key.endswith("/talk.wav")

    def test_a_large_file_that_was_spooled_to_disk_arrives_whole(self, acme, ledger, storage):
        data = bytes(range(256)) * 8192  # 2 MiB
        job = acme.post("/v1/jobs", data={"kind": "caption", "image": (io.BytesIO(data), "still.png")}).json
        (upload,) = fixed_of(ledger, job["id"]).uploads.values()
        assert storage.get_bytes(upload.key) == data

    def test_a_source_may_be_named_instead_of_a_file(self, acme):
        answer = acme.post(
            "/v1/jobs",
            data={"kind": "caption", "image": "https://example.com/a.png"},
            content_type="multipart/form-data",
        )
        assert answer.json["input"] == {"image": "https://example.com/a.png"}

    def test_a_file_for_a_text_is_a_source_of_text(self, acme, ledger):
        job = acme.post("/v1/jobs", data={"kind": "generate", "prompt": (io.BytesIO(b"Once"), "act.txt")}).json
        assert job["input"]["prompt"]["url"].startswith("upload:upload_")
        assert len(fixed_of(ledger, job["id"]).uploads) == 1

    @pytest.mark.parametrize("history", [["1", "2"], '["1", "2"]', (io.BytesIO(b'["1", "2"]'), "history.json")])
    def test_a_list_is_a_repeated_field_or_json_or_a_file_of_json(self, acme, history):
        data = {"kind": "recommend", "catalogue": "https://example.com/c.csv", "history": history}
        job = acme.post("/v1/jobs", data=data, content_type="multipart/form-data")
        assert job.json["input"]["history"] == ["1", "2"]

    def test_a_list_of_one_may_be_given_plainly(self, acme):
        data = {"kind": "recommend", "catalogue": "https://example.com/c.csv", "history": "42"}
        job = acme.post("/v1/jobs", data=data, content_type="multipart/form-data")
        assert job.json["input"]["history"] == ["42"]

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            (".hidden.wav", "hidden.wav"),
            ("/abs/talk.wav", "talk.wav"),
        ],
    )
    def test_a_path_in_a_file_name_is_left_out(self, acme, ledger, name, kept):
        """Whatever the name, the object lies under the upload's own prefix."""
        job = acme.post("/v1/jobs", data={"kind": "transcribe", "audio": (io.BytesIO(b"x"), name)}).json
        ((upload_id, upload),) = fixed_of(ledger, job["id"]).uploads.items()
        assert upload.key == f"tenants/acme/uploads/{upload_id}/{kept}"

    def test_nothing_is_stored_of_a_request_that_is_refused(self, acme, storage):
        """The whole request is judged before any file goes to the bucket."""
        answer = acme.post(
            "/v1/jobs", data={"kind": "transcribe", "audio": (io.BytesIO(b"x"), "a.wav"), "params": '{"language": 5}'}
        )
        assert answer.status_code == 422
        assert list(storage.list("tenants/")) == []


def test_the_fattest_request_there_may_be_has_a_bounded_record(acme, ledger):
    """Each part just within what may stay in the record, of characters that JSON writes as six bytes."""
    tags, history = ["\u0001" * 200] * 27, ["\u0001" * 200] * 27
    assert 32_000 < len(json.dumps(tags)) < RECORDED_MAX_BYTES
    answer = acme.post(
        "/v1/jobs",
        json={
            "kind": "recommend",
            "metadata": {"note": "\u0001" * 10_900},
            "input": {"catalogue": "https://example.com/" + "a" * 2000, "history": history, "tags": tags},
        },
    )
    assert answer.status_code == 202, answer.json
    record = keys.job(answer.json["id"])
    taken = ledger.redis.memory_usage(record, samples=0)
    assert 128_000 < taken < 192 * 1024
    assert int(ledger.redis.hget(keys.HELD, "acme")) == pytest.approx(taken, rel=0.25)


def test_a_long_json_input_is_noted_where_a_restore_and_an_older_worker_look(acme, ledger, storage):
    """The journal has all that the record has; its form is newer than one without such an input; the key tells
    another value from the same."""
    inputs = {"catalogue": "https://example.com/films.csv", "history": ["x" * 100] * 400}
    body, key = {"kind": "recommend", "input": inputs}, {"Idempotency-Key": "k"}
    job = acme.post("/v1/jobs", json=body, headers=key).json
    fixed = fixed_of(ledger, job["id"])
    (accepted,) = (fields for _, fields in ledger.redis.xrange(keys.JOURNAL) if fields["type"] == "accepted")
    assert Fixed.model_validate_json(accepted["fixed"]) == fixed
    assert (fixed.v, fixed.in_bucket, list(fixed.uploads)) == (
        2,
        ["history"],
        [fixed.input["history"]["url"].removeprefix("upload:")],
    )
    (upload,) = fixed.uploads.values()
    assert json.loads(storage.get_bytes(upload.key)) == inputs["history"]
    assert fixed_of(ledger, acme.submit()["id"]).v == 1
    assert acme.post("/v1/jobs", json=body, headers=key).headers["Idempotency-Replayed"] == "true"
    inputs["history"][0] += "x"
    problem(acme.post("/v1/jobs", json=body, headers=key), 422, "idempotency_key_reused")


def test_retry_budgets_are_kept_shown_and_completed_by_the_models(app, acme, ledger, monkeypatch):
    """A job's own goes before its model's; each code and its bounds are told."""
    registry = app.services.jobs.registry
    model = registry.model("generate").model_copy(update={"retry": {"worker_lost": 1, "model_failed": 2}})
    monkeypatch.setitem(registry._defaults, "generate", model)
    job = acme.submit(retry={"worker_lost": 5, "storage_unavailable": 20})
    assert job["retry"] == {"worker_lost": 5, "model_failed": 2, "storage_unavailable": 20}
    assert acme.get(job["links"]["self"]).json["retry"] == job["retry"]
    assert ledger.record(job["id"])["retry"] == "worker_lost=5,model_failed=2,storage_unavailable=20"
    acme.post(job["links"]["cancel"])
    again = acme.post(job["links"]["retry"], json={"retry": {"worker_lost": 0, "input_unreachable": 3}}).json
    assert again["changed"] == {"retry": {"worker_lost": 0, "input_unreachable": 3}}
    assert again["retry"] == {**job["retry"], "worker_lost": 0, "input_unreachable": 3}
    monkeypatch.undo()
    assert acme.submit()["retry"] == {} and "retry" not in ledger.record(acme.submit()["id"])
    for wrong, place in (
        ({"timeout": 1}, "/retry/timeout"),
        ({"worker_lost": 21}, "/retry/worker_lost"),
        ({"worker_lost": -1}, "/retry/worker_lost"),
        ({"worker_lost": True}, "/retry/worker_lost"),
        (3, "/retry"),
    ):
        refused = problem(acme.post("/v1/jobs", json={**PROMPT, "retry": wrong}), 422, "invalid_input")
        assert place in [error["pointer"] for error in refused["errors"]], refused


class TestStoredBytes:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"submits_per_minute": 5, "max_stored_bytes": 20})

    def test_over_them_submits_and_uploads_are_refused_and_the_minute_is_not_touched(self, acme, rival, hand, ledger):
        """429 with Retry-After; nothing was stored of the refused file."""
        job = acme.submit()
        hand.finish(hand.claim(), "a text of more than twenty bytes")
        for refused in (
            acme.post("/v1/jobs", json=PROMPT),
            acme.post("/v1/uploads", json={"name": "a.wav", "bytes": 1}),
            acme.post("/v1/jobs", data={"kind": "transcribe", "audio": (io.BytesIO(b"RIFF"), "a.wav")}),
        ):
            assert "32 bytes of outputs and uploads" in problem(refused, 429, "quota_exceeded")["detail"]
            assert refused.headers["Retry-After"] and "RateLimit" not in refused.headers
        assert not ledger.redis.exists(keys.UPLOADS)
        assert rival.post("/v1/uploads", json={"name": "a.wav", "bytes": 20}).status_code == 201
        ledger.count("acme", job["id"], 0)
        assert acme.post("/v1/jobs", json=PROMPT).headers["RateLimit"].startswith('"submits";r=3;')


class TestRateLimits:
    """A tenant's submits a minute, told in the fields of the IETF draft."""

    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"submits_per_minute": 2, "max_waiting_jobs": 0})

    def test_each_answer_says_what_is_left_and_a_refusal_when_to_ask_again(self, acme, rival):
        left = [acme.post("/v1/jobs", json=PROMPT) for _ in range(3)]
        assert [answer.status_code for answer in left] == [202, 202, 429]
        assert [answer.headers["RateLimit"].partition(";t=")[0] for answer in left] == [
            '"submits";r=1',
            '"submits";r=0',
            '"submits";r=0',
        ]
        assert {answer.headers["RateLimit-Policy"] for answer in left} == {'"submits";q=2;w=60'}
        assert 1 <= int(left[2].headers["Retry-After"]) <= 30
        assert left[2].json["code"] == "rate_limited" and left[2].json["retryable"]
        assert rival.post("/v1/jobs", json=PROMPT).status_code == 202

    def test_a_file_of_a_submit_too_many_is_not_stored(self, acme, storage):
        """The bucket of a tenant that is refused does not fill."""
        for code in (202, 202, 429):
            form = {"kind": "transcribe", "audio": (io.BytesIO(b"RIFF"), "a.wav")}
            assert (answer := acme.post("/v1/jobs", data=form)).status_code == code
        assert answer.json["code"] == "rate_limited" and 1 <= int(answer.headers["Retry-After"]) <= 30
        assert len(list(storage.list("tenants/acme/uploads/"))) == 2


class TestWaitingJobs:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"max_waiting_jobs": 1})

    def test_over_them_a_form_is_refused_before_its_file_is_stored(self, acme, storage):
        for code in (202, 429):
            form = {"kind": "transcribe", "audio": (io.BytesIO(b"RIFF"), "a.wav")}
            assert (answer := acme.post("/v1/jobs", data=form)).status_code == code
        assert "1 of your jobs wait; a tenant may have 1 waiting" in problem(answer, 429, "quota_exceeded")["detail"]
        assert len(list(storage.list("tenants/acme/uploads/"))) == 1


def test_a_parameter_of_another_algorithm_is_refused_and_not_offered(acme):
    """The refusal names those that take it; the model's own schema does not show it."""
    answer = acme.post("/v1/jobs", json={**PROMPT, "model": "lstm", "params": {"on_long_prompt": "cut"}})
    assert answer.status_code == 422
    (wrong,) = answer.json["errors"]
    assert wrong["pointer"] == "/params/on_long_prompt"
    assert "the model lstm does not take it" in wrong["detail"] and "transformer" in wrong["detail"]
    assert "on_long_prompt" not in acme.get("/v1/models/generate/lstm").json["params"]["properties"]
