"""Records that shrink: an hour after the end Redis keeps what is small, and a caller reads the same as before."""

import json

import pytest

from api import create_app, keyfile
from tasks.bucket.layout import attempt_prefix, job_json_key
from tasks.errors import Conflict, StorageUnavailable
from tasks.ledger import Ledger, keys
from tasks.service.jobs import Jobs
from tests.conftest import fenced, make_fixed
from worker.keeper.journal import Journal
from worker.keeper.keeper import Keeper
from worker.keeper.records import RETRY_MS, WHOLE_S, Records

LONG = "word " * 6000
RESULT = {"text": LONG, "finish_reason": "stop", "usage": {"prompt_tokens": 4, "completion_tokens": 2}}


class House:
    """Jobs ended by hand, the bucket, and a clock that runs ahead of Redis' own by `ahead_s`."""

    def __init__(self, settings, ledger, storage, worker) -> None:
        self.ledger, self.storage, self.worker = ledger, storage, worker
        self.jobs, self.ahead_s, self.tokens = Jobs.of(settings), 0, 0
        self.records = Records(Ledger(settings, ledger.redis, self._now_ms), storage)

    def succeeded(self, result=RESULT, **changes):
        """A job whose second attempt has made an output; the first failed."""
        fixed = make_fixed(**changes)
        self.ledger.submit(fixed)
        self.ledger.fail(fixed.id, self._claim().token, StorageUnavailable("the bucket did not answer"))
        claimed = self._claim()
        key = attempt_prefix("acme", fixed.id, claimed.number, claimed.token) + "text.txt"
        self.storage.put_bytes(key, b"the end", "text/plain")
        outputs = [{"name": "text.txt", "media_type": "text/plain", "bytes": 7, "sha256": "0" * 64, "key": key}]
        self.ledger.commit(
            fixed.id, claimed.token, result, outputs * (8 if len(json.dumps(result)) > 1024 else 1), {"run_s": 0.25}
        )
        return fixed

    def failed(self, **changes):
        fixed = make_fixed(max_attempts=1, **changes)
        self.ledger.submit(fixed)
        self.ledger.fail(fixed.id, self._claim().token, StorageUnavailable("the bucket did not answer"))
        return fixed

    def written(self) -> None:
        journal = Journal(self.ledger, self.storage)
        journal.write_segment()
        journal.write_job_json(for_s=5)

    def an_hour_later(self) -> int:
        self.ahead_s += WHOLE_S
        return self.records.shrink(for_s=5)

    def _claim(self):
        self.tokens += 1
        return self.ledger.claim(self.worker, f"w1:1:1:{self.tokens}", f"{self.tokens:08x}{self.tokens:024x}")

    def _now_ms(self) -> int:
        seconds, micros = self.ledger.redis.time()
        return seconds * 1000 + micros // 1000 + self.ahead_s * 1000


@pytest.fixture
def house(settings, ledger, storage, worker) -> House:
    return House(settings, ledger, storage, worker)


def test_a_caller_reads_the_same_before_and_after(house):
    """Result, outputs, attempts with their errors, params, metadata: all of it, and the way to an output."""
    fixed = house.succeeded(input={"prompt": LONG}, params={"stop": ["x" * 2000]}, metadata={"note": "y" * 2000})
    house.written()
    before = house.jobs.get("acme", fixed.id)
    size = house.ledger.redis.memory_usage(keys.job(fixed.id), samples=0)
    assert house.records.shrink(for_s=5) == 0, "not within the hour"
    assert house.an_hour_later() == 1
    assert house.jobs.get("acme", fixed.id) == before
    assert before.result["text"] == LONG and [a.outcome for a in before.attempts] == ["retry", "succeeded"]
    assert "/2-" in house.jobs.output_link("acme", fixed.id, "text.txt")
    assert house.ledger.redis.memory_usage(keys.job(fixed.id), samples=0) < size / 20
    assert not house.ledger.redis.exists(keys.WHOLE)


def test_over_http_too(house, settings):
    fixed = house.succeeded()
    house.written()
    caller = create_app(settings).test_client()
    headers = {"Authorization": f"Bearer {keyfile.add(settings.keys_file, 'acme')}"}

    def look(path: str = ""):
        return caller.get(f"/v1/jobs/{fixed.id}{path}", headers=headers)

    before = look().json
    house.an_hour_later()
    assert look().json == before
    assert look("/outputs/text.txt").status_code == 307


def test_a_list_shows_what_the_record_has_and_reads_no_bucket(house, monkeypatch):
    """A page must not become a read of the bucket for each row."""
    fixed = house.succeeded(input={"prompt": LONG})
    house.written()
    house.an_hour_later()
    monkeypatch.setattr(house.jobs.storage, "get_bytes", None)
    (row,) = house.jobs.list("acme", kind="generate", model="lstm", status="succeeded").jobs
    assert (row.id, row.result, row.input, len(row.attempts)) == (fixed.id, None, {}, 2)


def test_a_small_record_stays_as_it_is(house):
    """Nothing of it is worth a read of the bucket."""
    fixed = house.succeeded({"text": "the end"})
    before = house.ledger.record(fixed.id)
    assert house.an_hour_later() == 1
    assert house.ledger.record(fixed.id) == before


def test_not_before_its_job_json_is_in_the_bucket(house):
    """Then it is looked at again, a minute later."""
    fixed = house.succeeded()
    house.an_hour_later()
    assert house.ledger.record(fixed.id)["result"]
    house.written()
    house.ahead_s += RETRY_MS / 1000
    assert house.records.shrink(for_s=5) == 1
    assert "result" not in house.ledger.record(fixed.id)


def test_the_request_of_a_job_that_did_not_succeed_stays_whole(house):
    """A dead letter can be replayed for as long as it is kept."""
    fixed = house.failed(input={"prompt": LONG})
    house.written()
    house.an_hour_later()
    again = house.jobs.retry("acme", fixed.id).job
    assert json.loads(house.ledger.record(again.id)["fixed"])["input"] == {"prompt": LONG}
    assert house.jobs.get("acme", fixed.id).error.code == "storage_unavailable"


def test_a_large_request_that_succeeded_is_not_retried_from_half_of_it(house):
    """A small one is."""
    large, small = house.succeeded(input={"prompt": LONG}), house.succeeded()
    house.written()
    house.an_hour_later()
    with pytest.raises(Conflict, match="submit it anew"):
        house.jobs.retry("acme", large.id)
    assert house.jobs.retry("acme", small.id).job.retry_of == small.id


def test_one_that_shrank_is_erased_with_all_it_left(house, settings):
    """Its uploads are still known, and its outputs still go."""
    upload = {"upload_1": {"key": "tenants/acme/uploads/upload_1/a", "bytes": 9, "etag": "e"}}
    fixed = house.succeeded(input={"prompt": LONG}, uploads=upload)
    house.written()
    house.an_hour_later()
    house.jobs.delete("acme", fixed.id)
    assert not house.ledger.redis.exists(keys.upload_jobs("acme", "upload_1"))
    Keeper(settings).duties["trash"].work()
    assert [seen.key for seen in house.storage.list("tenants/acme/jobs/")] == [job_json_key("acme", fixed.id)]


def test_the_committed_objects_stay_though_the_record_lists_them_no_longer(house, settings):
    """Were their prefix on the trash list; it never should be."""
    fixed = house.succeeded()
    house.written()
    house.an_hour_later()
    assert "outputs" not in house.ledger.record(fixed.id)
    (output,) = (seen.key for seen in house.storage.list(f"tenants/acme/jobs/{fixed.id}/2-"))
    house.ledger.redis.zadd(keys.TRASH, {output.rpartition("/")[0] + "/": 1})
    Keeper(settings).duties["trash"].work()
    assert house.storage.head(output)


def test_a_record_put_back_as_ended_shrinks_too(house):
    """After a restore `conclude` notes it as whole."""
    fixed = house.succeeded()
    house.written()
    ended = house.ledger.record(fixed.id)
    house.ledger.redis.delete(keys.job(fixed.id), keys.WHOLE)
    house.ledger.submit(fixed, restoring=fenced(house.ledger))
    assert house.ledger.conclude(fixed.id, ended)
    house.an_hour_later()
    assert "result" not in house.ledger.record(fixed.id)
    assert house.jobs.get("acme", fixed.id).result == RESULT
