"""What a tenant may store: one that fills Redis, or the bucket, is refused by name, and nobody else sees of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tasks.ledger import keys
from tests.strangers.conftest import Town

SHARE, STORED, A_MINUTE = 400_000, 20_000_000, 40
FAR = (datetime.now(UTC) + timedelta(days=300)).isoformat()
TURN = {"role": "user", "content": "x" * 90_000}


@pytest.fixture(scope="module")
def town(make_town) -> Iterator[Town]:
    yield from make_town(max_record_bytes=SHARE, max_stored_bytes=STORED, uploads_per_minute=A_MINUTE)


def submit(http: httpx.Client, **inputs) -> httpx.Response:
    return http.post("/v1/jobs", json={"kind": "generate", "model": "cpu-noop", "input": inputs, "start_at": FAR})


def until_refused(ask, most: int) -> tuple[int, httpx.Response]:
    for count in range(most):
        answer = ask()
        if answer.status_code >= 400:
            return count, answer
    raise AssertionError(f"{most} were taken and none refused")


def test_long_conversations_for_next_year_take_little_of_redis(town):
    """0.8 MB each, ten of them: the records have a few KB, and a cancel gives the conversation back."""
    redis = town.stack.redis()
    with town.client as http, town.honest.beside("ten conversations of 0.8 MB for next year"):
        jobs = [submit(http, messages=[TURN] * 9).json() for _ in range(10)]
    sizes = [redis.memory_usage(keys.job(job["id"]), samples=0) for job in jobs]
    assert max(sizes) < 8192, sizes
    assert int(redis.hget(keys.HELD, "stranger")) < SHARE / 10
    assert {job["status"] for job in jobs} == {"scheduled"}
    assert all(job["input"]["messages"]["url"].startswith("upload:") for job in jobs)
    erase(town, jobs)


def test_a_tenant_that_fills_its_share_of_redis_is_refused_and_nobody_else(town):
    """429 with the limit, never 503; who erases has room again."""
    redis = town.stack.redis()
    with town.client as http, town.honest.beside("records to the limit of its share") as seen:
        jobs = []

        def ask() -> httpx.Response:
            answer = submit(http, prompt="x" * 30_000)
            jobs.extend([answer.json()] if answer.status_code == 202 else [])
            return answer

        taken, refused = until_refused(ask, 50)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert f"may take {SHARE:,}" in refused.json()["detail"] and refused.headers["Retry-After"]
        assert 10 <= taken <= SHARE // 30_000
        assert int(redis.hget(keys.HELD, "stranger")) <= SHARE
        assert submit(http, prompt="x" * 30_000).status_code == 429
        erase(town, jobs)
        assert submit(http, prompt="x" * 30_000).status_code == 202
    assert not seen.errors and seen.jobs


def erase(town: Town, jobs: list[dict]) -> None:
    with town.client as http:
        for job in jobs:
            http.post(job["links"]["cancel"])
            assert http.delete(job["links"]["self"]).status_code == 204


def test_an_upload_is_no_larger_than_declared(town):
    """Declared one byte: five megabytes are refused before and after the submit, and no quota is passed by."""
    with town.client as http, town.honest.beside("uploads larger than declared") as seen:
        made = http.post("/v1/uploads", json={"name": "a.txt", "bytes": 1}).json()
        assert put(made, b"x" * 5_000_000) == 403
        assert put(made, b"x") == 200
        job = submit(http, prompt={"url": made["source"]})
        assert job.status_code == 202
        assert put(made, b"x" * 5_000_000) == 403
        undeclared = http.post("/v1/uploads", json={"name": "a.txt"})
        assert (undeclared.status_code, undeclared.json()["errors"][0]["pointer"]) == (422, "/bytes")
        erase(town, [job.json()])
    assert not seen.errors


def put(made: dict, data: bytes) -> int:
    return httpx.put(made["url"], content=data, trust_env=False).status_code


def test_places_that_nobody_fills_count_and_are_so_many_a_minute(town):
    """Declared bytes are charged at once; then each minute has its number, and others have theirs."""
    with town.client as http, town.honest.beside("uploads declared and never put") as seen:
        large, room = {"name": "a.bin", "bytes": STORED // 8}, STORED - stored(town)
        taken, refused = until_refused(lambda: http.post("/v1/uploads", json=large), 9)
        assert taken == room // (STORED // 8) and refused.json()["code"] == "quota_exceeded"
        assert f"a tenant may have {STORED:,}" in refused.json()["detail"]
        _, refused = until_refused(lambda: http.post("/v1/uploads", json={"name": "a.bin", "bytes": 1}), A_MINUTE + 2)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert f"{A_MINUTE} uploads a minute" in refused.json()["detail"]
        form = {"kind": (None, "generate"), "prompt": ("a.txt", json.dumps("x" * 5_200_000))}
        assert http.post("/v1/jobs", files=form).status_code in (413, 429)
    assert not seen.errors
    assert stored(town) <= STORED


def stored(town: Town) -> int:
    return int(town.stack.redis().hget(keys.STORED, "stranger") or 0)
