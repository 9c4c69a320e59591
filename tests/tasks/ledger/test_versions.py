"""Releases side by side: a record of a newer form waits in a line of its own for a worker that knows it, and holds up
nobody."""

from dataclasses import replace

from tasks.broker import lines
from tasks.job import SCHEMA
from tasks.ledger import keys
from tests.conftest import make_worker


def claim(desk, v, *lines):
    worker = replace(make_worker(), v=v, lines=list(lines) or make_worker().lines)
    return desk.ledger.claim(worker, f"w1:{desk.token()}", desk.token())


def test_a_newer_record_is_in_a_line_that_older_workers_do_not_name(desk):
    newer, older = desk.submit(v=2), desk.submit(v=1)
    assert desk.line("cpu.generate:lstm@2") == [newer.id] and desk.record(newer)["v"] == "2"
    assert claim(desk, 1).fixed == older and claim(desk, 1) is None
    assert claim(desk, 2, "cpu.generate:lstm", "cpu.generate:lstm@2").fixed == newer


def test_one_in_a_line_of_an_older_worker_is_left_to_those_that_know_it(desk, ledger):
    """However many stand there; what is behind them is handed out."""
    newer = [desk.submit(v=1) for _ in range(20)]
    for job in newer:
        ledger.redis.hset(keys.job(job.id), "v", "3")
    older = desk.submit(v=1)
    assert claim(desk, 2).fixed == older and claim(desk, 2) is None
    assert desk.line("cpu.generate:lstm@3") == [job.id for job in newer]
    assert all(desk.status(job) == "queued" for job in newer)
    assert claim(desk, 3, "cpu.generate:lstm@3").fixed.id == newer[0].id


def test_a_worker_serves_each_form_that_its_release_knows(settings):
    served = lines(settings.registry(), "cpu")
    plain = [line for line in served if "@" not in line]
    assert len(served) == SCHEMA * len(plain) and all(f"{line}@{SCHEMA}" in served for line in plain)


def test_a_worker_that_dies_before_its_first_renewal_leaves_nothing_for_good(desk, ledger):
    ledger.redis.set(keys.alone("cpu", "acme"), ledger.clock.ms + 1000)
    desk.running()
    assert ledger.redis.hexists(keys.worker("w1"), "alone:w1")
    assert ledger.redis.ttl(keys.slots("w1")) > 0 and ledger.redis.ttl(keys.worker("w1")) > 0
