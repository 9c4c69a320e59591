"""Odd entries in the bucket and in Redis are left out, kept where a person finds them, and told of; the duties go on.

Who put them there may be another release, another program in the same bucket, or a person in a hurry.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import redis

from tasks.bucket.layout import job_json_key, job_prefix
from tasks.bucket.storage import Storage
from tasks.ids import new_id
from tasks.ledger import keys
from tests.stack import free_port, until
from tests.strangers.conftest import Town

SOON_S = 30
YEAR_ONE_MS = -62135600400000
"""0001-01-01T00:00:00+01:00, which no datetime in UTC can say."""
LEFT_OUT = "cannot be shown: params, metrics, progress"


@dataclass
class Odd:
    """The town with the oddities in it. `damaged`: the stranger's ended job whose record can be shown in part;
    `unreadable`: one of which nothing can; `fine`: one that is as it should be."""

    town: Town
    redis: redis.Redis
    storage: Storage
    damaged: str
    unreadable: str
    fine: str

    def run(self, key: str, **changes) -> str:
        """A job to its end."""
        with self.town.client_of(key) as client:
            job = client.post(
                "/v1/jobs",
                headers={"Prefer": "wait=30"},
                json={"kind": "generate", "model": "cpu-noop", "input": {"prompt": "x"}, **changes},
            ).json()
        assert job["status"] == "succeeded", job
        return job["id"]

    def look(self, path: str, key: str = "") -> httpx.Response:
        with self.town.client_of(key or self.town.key) as client:
            return client.get(path)

    def of_keeper(self, path: str) -> httpx.Response:
        port = self.town.stack.settings.metrics_port
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10)

    def duty(self, name: str) -> dict:
        """As /v1/pools shows it."""
        duties = self.look("/v1/pools", self.town.operator_key).json()["keeper"]["duties"]
        return next(duty for duty in duties if duty["name"] == name)


@pytest.fixture(scope="module")
def odd(make_town) -> Iterator[Odd]:
    for town in make_town(metrics_port=free_port(), renew_s=0.2):
        settings = town.stack.settings
        client = redis.Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
        made = Odd(town, client, Storage(settings), "", "", "")
        town.honest.alone()
        _put_oddities(made)
        yield made


def _put_oddities(odd: Odd) -> None:
    """Everywhere where the keeper reads."""
    odd.damaged, odd.unreadable, odd.fine = (odd.run(odd.town.key) for _ in range(3))
    until(lambda: odd.storage.head(job_json_key("stranger", odd.fine)), SOON_S, "what came before is written")
    put, add = odd.storage.put_bytes, odd.redis.zadd
    for key in (
        "tenants/notes",
        "tenants/stranger/notes.txt",
        "journal/notes.jsonl",
        "journal/x",
        "artefacts/notes",
        f"tenants/stranger/jobs/{new_id('job')}/job.json",
    ):
        put(key, b"remember the milk", "text/plain")
    fixed = json.loads(odd.redis.hget(keys.job(odd.damaged), "fixed"))
    odd.redis.hset(
        keys.job(odd.damaged),
        mapping={
            "fixed": json.dumps({**fixed, "start_ms": YEAR_ONE_MS, "params": "none"}),
            "metrics": "[",
            "progress": "x",
        },
    )
    for job_id in (odd.damaged, odd.unreadable):
        if job_id == odd.unreadable:
            odd.redis.hset(keys.job(job_id), "fixed", "[")
        odd.redis.xadd(keys.JOURNAL, {"type": "ended", "id": job_id, **odd.redis.hgetall(keys.job(job_id))})
    odd.redis.xadd(keys.JOURNAL, {"type": "ended"})
    odd.redis.xadd(keys.JOURNAL, {"note": "remember the milk"})
    for key in (keys.RETAINED, keys.WHOLE, keys.TRASH, keys.UPLOADS, keys.TOMBSTONES, keys.ARCHIVED):
        add(key, {"": 0, "milk": 1, "tenants/": 2, "a/b/c/d/e/f": 3})
    for key in (keys.DUE, keys.EXPIRIES, keys.leases("cpu"), keys.line("cpu.generate:cpu-noop")):
        add(key, {"milk": -1, "tenants/": -2})
    odd.redis.hset(keys.job("milk"), mapping={"status": "succeeded", "fixed": "milk"})
    odd.redis.set(keys.job("tenants/"), "of another type")
    odd.redis.set(keys.STOCK, "")


def test_an_honest_tenants_duties_are_done(odd):
    """job.json, retention (410), trash, the trimmed journal, the look through the bucket."""
    with odd.town.honest.beside("entries that nobody can read, in Redis and in the bucket") as seen:
        job = odd.run(odd.town.key, retention_s=2)
        until(lambda: odd.look(f"/v1/jobs/{job}").status_code == 410, SOON_S, "the retention ends")
        until(lambda: not odd.redis.zscore(keys.TRASH, job_prefix("stranger", job)), SOON_S, "the trash is emptied")
        assert b"erased_at" in odd.storage.get_bytes(job_json_key("stranger", job))
        until(lambda: not odd.redis.exists(keys.STOCK), SOON_S, "the bucket is looked through")
    assert seen.jobs and not seen.errors
    until(lambda: not odd.redis.xlen(keys.JOURNAL), SOON_S, "the journal is trimmed")
    for honest in odd.redis.zrange(keys.tenant_jobs("honest"), -3, -1):
        assert json.loads(odd.storage.get_bytes(job_json_key("honest", honest)))["status"] == "succeeded"
    assert odd.storage.head("tenants/notes") and odd.storage.head("artefacts/notes"), "what is not ours stays"


def test_an_end_that_cannot_be_shown_is_set_aside_and_told_of(odd):
    """Its job.json tells what can be shown."""
    until(lambda: len(list(odd.storage.list("journal/unreadable/"))) >= 2, SOON_S, "two are set aside")
    kept = b"".join(odd.storage.get_bytes(seen.key) for seen in odd.storage.list("journal/unreadable/"))
    assert odd.damaged.encode() in kept and odd.unreadable.encode() in kept
    written = json.loads(odd.storage.get_bytes(job_json_key("stranger", odd.damaged)))
    assert written["status"] == "succeeded" and written["message"] == LEFT_OUT
    until(lambda: odd.duty("job_json")["skipped"] >= 2, SOON_S, "/v1/pools tells of it")
    assert not odd.duty("job_json")["late"] and odd.duty("job_json")["error"] is None
    shown = odd.of_keeper("/metrics").text
    for duty in (
        "job_json",
        "retention",
        "trash",
        "uploads",
        "tombstones",
        "archived",
        "reconcile",
        "records",
        "set_aside",
    ):
        count = next(
            line for line in shown.splitlines() if line.startswith(f'backlot_skipped_entries_total{{duty="{duty}"}}')
        )
        assert float(count.split()[-1]) > 0, count
    assert odd.of_keeper("/readyz").json()["status"] == "ok", "what is left out is not a failure"


def test_lists_show_what_can_be_shown(odd):
    """In part, or not at all; the page is there."""
    answer = odd.look("/v1/jobs")
    assert answer.status_code == 200
    shown = {job["id"]: job for job in answer.json()["data"]}
    assert shown[odd.fine]["message"] is None
    assert shown[odd.damaged]["message"] == LEFT_OUT and shown[odd.damaged]["status"] == "succeeded"
    assert odd.unreadable not in shown
    assert odd.look(f"/v1/jobs/{odd.damaged}").json() == shown[odd.damaged]


def test_a_damaged_record_can_be_erased(odd):
    with odd.town.client as client:
        assert client.delete(f"/v1/jobs/{odd.unreadable}").status_code == 204
    until(lambda: odd.look(f"/v1/jobs/{odd.unreadable}").status_code == 410, SOON_S)


def test_a_restore_puts_back_the_rest(odd):
    """After a flush; a segment that was cut off, one of garbage and a written.json of garbage lie in its way."""
    with odd.town.client as client:
        waiting = client.post(
            "/v1/jobs",
            json={
                "kind": "generate",
                "model": "cpu-noop",
                "input": {"prompt": "x"},
                "start_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
            },
        ).json()["id"]
    until(lambda: odd.redis.get(keys.SEGMENTED) == odd.redis.xinfo_stream(keys.JOURNAL)["last-generated-id"], SOON_S)
    last = odd.redis.get(keys.SEGMENTED)
    odd.storage.put_bytes(f"journal/{last}-{last}9.jsonl", b'{"sid": "1-1", "type": "accep', "application/jsonl")
    odd.storage.put_bytes("journal/1-1-2-2.jsonl", b"\xff\xfe\n[[[\n{}\n", "application/jsonl")
    odd.storage.put_bytes("journal/written.json", b"[]", "application/json")
    odd.redis.flushdb()
    until(lambda: odd.look(f"/v1/jobs/{waiting}").status_code == 200, SOON_S, "it is put back")
    assert odd.look(f"/v1/jobs/{waiting}").json()["status"] == "scheduled"
    assert odd.look(f"/v1/jobs/{odd.fine}").json()["status"] == "succeeded"
    assert odd.run(odd.town.key)


def test_a_duty_that_fails_for_good_is_named_and_stops_no_other(odd):
    """Its list is of another type: it is late after thirty rounds, and late no longer once that is mended."""
    odd.redis.delete(keys.TOMBSTONES)
    odd.redis.set(keys.TOMBSTONES, "of another type")
    until(lambda: odd.of_keeper("/readyz").status_code == 503, SOON_S, "it is late")
    late = odd.of_keeper("/readyz").json()
    assert [duty["name"] for duty in late["duties"]] == ["tombstones"] and "WRONGTYPE" in late["duties"][0]["error"]
    until(lambda: odd.duty("tombstones")["late"], SOON_S)
    job = odd.run(odd.town.key)
    until(lambda: odd.storage.head(job_json_key("stranger", job)), SOON_S, "the others go on")
    odd.redis.delete(keys.TOMBSTONES)
    until(lambda: odd.of_keeper("/readyz").status_code == 200, SOON_S)
    until(lambda: odd.duty("tombstones")["error"] is None, SOON_S)
