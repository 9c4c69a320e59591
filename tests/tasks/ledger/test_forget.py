"""forget: an ended job leaves no key behind, and all that it left in the bucket goes on the trash list."""

import pytest

from tasks.errors import Conflict, NotFound
from tasks.job import Upload
from tasks.ledger import keys

UPLOAD = {"upload_1": Upload(key="tenants/acme/uploads/upload_1/a.wav", bytes=1, etag="x")}


def test_nothing_is_left_of_a_forgotten_job(desk, ledger, clock):
    desk.submit(uploads=UPLOAD)
    claimed = desk.claim()
    assert ledger.redis.smembers(keys.upload_jobs("acme", "upload_1")) == {claimed.fixed.id}
    desk.commit(claimed)
    ledger.forget(claimed.fixed)
    assert ledger.record(claimed.fixed.id) is None
    assert ledger.redis.zscore(keys.TRASH, f"tenants/acme/jobs/{claimed.fixed.id}/") == clock.ms
    left = {key for key in ledger.redis.keys("bl:*") if claimed.fixed.id in str(everything(ledger.redis, key))}
    assert left == {keys.EVENTS, keys.JOURNAL, keys.TRASH}


def test_forgetting_twice_is_alike(desk, ledger):
    claimed = desk.running()
    desk.commit(claimed)
    ledger.forget(claimed.fixed)
    ledger.forget(claimed.fixed)
    assert ledger.redis.zcard(keys.TRASH) == 1


def test_a_job_that_has_not_ended_is_not_forgotten(desk, ledger):
    waiting = desk.submit()
    with pytest.raises(Conflict, match="cancel it first"):
        ledger.forget(waiting)
    claimed = desk.claim()
    desk.cancel(claimed)
    with pytest.raises(Conflict, match="has not ended"):
        ledger.forget(claimed.fixed)


def test_nobody_forgets_what_never_was_or_is_anothers(desk, ledger, fixed):
    claimed = desk.running()
    desk.commit(claimed)
    for job in (fixed(), claimed.fixed.model_copy(update={"tenant": "rival"})):
        with pytest.raises(NotFound, match="there is no job"):
            ledger.forget(job)
    assert desk.status(claimed) == "succeeded"


def test_a_late_verb_for_a_forgotten_job_brings_nothing_back(desk, ledger):
    """No record, no lease, no line comes of it."""
    claimed = desk.running()
    desk.commit(claimed)
    ledger.forget(claimed.fixed)
    assert {desk.commit(claimed), desk.fail(claimed), desk.release(claimed)} == {"lost"}
    assert ledger.report(claimed.fixed.id, claimed.token, "running") == "lost"
    assert ledger.record(claimed.fixed.id) is None


def everything(redis, key):
    return {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "stream": redis.xrange,
        "zset": lambda k: redis.zrange(k, 0, -1),
        "list": lambda k: redis.lrange(k, 0, -1),
    }[redis.type(key)](key)
