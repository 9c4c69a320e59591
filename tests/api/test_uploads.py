"""Uploads: a place for a file of the size declared, and for no other; so many a minute, and bytes that count."""

import httpx
import pytest

from tasks.ledger import keys
from tests.api.conftest import problem


def put(made, content: bytes) -> int:
    assert made.status_code == 201, made.json
    return httpx.put(made.json["url"], content=content, trust_env=False).status_code


def test_a_put_of_another_length_than_declared_is_refused_by_the_bucket(acme, storage):
    """The length is signed: neither more, nor less, nor without a length; before or after the right one."""
    made = acme.post("/v1/uploads", json={"name": "a.txt", "bytes": 5})
    refused = [b"123456", b"1", b"", iter([b"12345"])]
    assert [put(made, content) for content in refused[:2]] == [403, 403]
    assert put(made, b"12345") == 200
    assert [put(made, content) for content in refused] == [403] * 4
    (seen,) = storage.list("tenants/acme/uploads/")
    assert seen.bytes == 5


def test_without_a_limit_the_size_need_not_be_known(acme):
    """As before there was one."""
    assert put(acme.post("/v1/uploads", json={"name": "a.txt"}), b"any length") == 200


class TestLimits:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"max_stored_bytes": 1000, "uploads_per_minute": 3})

    def test_where_bytes_are_limited_the_size_is_required(self, acme):
        answer = problem(acme.post("/v1/uploads", json={"name": "a.txt"}), 422, "invalid_input")
        assert answer["errors"][0]["pointer"] == "/bytes"

    def test_declared_bytes_count_at_once(self, acme, rival):
        """All of a tenant's may be one upload, and a job may name it."""
        made = acme.post("/v1/uploads", json={"name": "a.wav", "bytes": 1000})
        assert put(made, b"x" * 1000) == 200
        refused = problem(acme.post("/v1/uploads", json={"name": "a.wav", "bytes": 1}), 429, "quota_exceeded")
        assert "1,000 bytes of outputs and uploads, and these are 1 more; a tenant may have 1,000" in refused["detail"]
        assert rival.post("/v1/uploads", json={"name": "a.wav", "bytes": 1000}).status_code == 201
        job = {"kind": "transcribe", "input": {"audio": made.json["source"]}}
        assert acme.post("/v1/jobs", json=job).status_code == 202

    def test_a_tenant_begins_so_many_a_minute(self, acme, rival, ledger):
        """Told in the fields of the IETF draft, and nothing is kept of a refusal."""
        answers = [acme.post("/v1/uploads", json={"name": "a.wav", "bytes": 1}) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [201] * 3 + [429] * 2
        refused = problem(answers[-1], 429, "rate_limited")
        assert refused["detail"] == "a tenant may begin 3 uploads a minute"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
        assert answers[-1].headers["RateLimit-Policy"] == '"uploads";q=3;w=60'
        assert ledger.redis.zcard(keys.UPLOADS) == 3
        assert rival.post("/v1/uploads", json={"name": "a.wav", "bytes": 1}).status_code == 201
        acme.submit()
