"""Looks at many jobs in one trip."""

import pytest

from tasks.errors import NotReady
from tasks.ledger import keys
from tasks.service.looks import Ask, Looks, Text


def test_many_jobs_are_looked_at_together(ledger, fixed, worker):
    """A waiting one, a running one, one that is done with its view, one that is erased."""
    made = [fixed() for _ in range(3)]
    for one in made:
        ledger.submit(one)
    claimed = ledger.claim(worker, "w1:0", f"{1:032d}")
    ledger.report(claimed.fixed.id, claimed.token, progress=0.5, message="half")
    ledger.cancel("acme", made[1].id)
    looks = Looks(ledger).at([Ask(one.id) for one in made] + [Ask(made[0].id), Ask(fixed().id)])
    running, done, waiting, erased = looks.values()
    assert running.record["status"] == "running" and running.record["message"] == "half" and running.job is None
    assert done.done and done.job.status == "canceled"
    assert waiting.record == {"status": "queued"}
    assert erased.record == {} and not erased.done


def test_a_record_that_cannot_be_read_stops_no_other_look(ledger, fixed):
    one = fixed()
    ledger.submit(one)
    ledger.redis.set(keys.job("job_damaged"), "no hash")
    assert list(Looks(ledger).at([Ask("job_damaged"), Ask(one.id)])) == [Ask(one.id)]


def test_a_redis_that_has_lost_records_shows_no_job_as_erased(ledger, fixed):
    one = fixed()
    ledger.submit(one)
    ledger.redis.flushdb()
    with pytest.raises(NotReady):
        Looks(ledger).at([Ask(one.id)])


def test_only_what_is_new_of_a_text_is_read(ledger, fixed, worker):
    """In bytes of UTF-8; all of it for whoever knows an earlier attempt's."""
    one = fixed()
    ledger.submit(one)
    claimed = ledger.claim(worker, "w1:0", f"{1:032d}")
    ask, looks = Ask(one.id), Looks(ledger)
    assert looks.at([ask])[ask].text is None
    ledger.report(one.id, claimed.token, text="Once, é", text_at=0)
    ledger.report(one.id, claimed.token, text=" and on", text_at=8)
    known, foreign = Ask(one.id, 1, 8), Ask(one.id, 7, 3)
    found = looks.at([ask, known, foreign])
    assert found[ask].text == Text(1, 0, "Once, é and on")
    assert found[known].text == Text(1, 8, " and on")
    assert found[foreign].text == Text(1, 0, "Once, é and on")
    damaged = fixed()
    ledger.submit(damaged)
    ledger.redis.hset(keys.job(damaged.id), "text", 1)
    ledger.redis.set(keys.text(damaged.id), "no digits, and a text")
    assert looks.at([known, Ask(damaged.id)])[known].text == Text(1, 8, " and on")
