"""Looks at many jobs in one trip."""

import pytest

from tasks.errors import NotReady
from tasks.ledger import keys
from tasks.service.looks import Looks


def test_many_jobs_are_looked_at_together(ledger, fixed, worker):
    """A waiting one, a running one, one that is done with its view, one that is erased."""
    made = [fixed() for _ in range(3)]
    for one in made:
        ledger.submit(one)
    claimed = ledger.claim(worker, "w1:0", f"{1:032d}")
    ledger.report(claimed.fixed.id, claimed.token, progress=0.5, message="half")
    ledger.cancel("acme", made[1].id)
    looks = Looks(ledger).at([one.id for one in made] + [made[0].id, fixed().id])
    running, done, waiting, erased = looks.values()
    assert running.record["status"] == "running" and running.record["message"] == "half" and running.job is None
    assert done.done and done.job.status == "canceled"
    assert waiting.record == {"status": "queued"}
    assert erased.record == {} and not erased.done


def test_a_record_that_cannot_be_read_stops_no_other_look(ledger, fixed):
    one = fixed()
    ledger.submit(one)
    ledger.redis.set(keys.job("job_damaged"), "no hash")
    assert list(Looks(ledger).at(["job_damaged", one.id])) == [one.id]


def test_a_redis_that_has_lost_records_shows_no_job_as_erased(ledger, fixed):
    one = fixed()
    ledger.submit(one)
    ledger.redis.flushdb()
    with pytest.raises(NotReady):
        Looks(ledger).at([one.id])
