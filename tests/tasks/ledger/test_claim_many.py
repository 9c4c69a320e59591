"""Several slots of one worker commit and claim in one trip: each as if it had come alone."""

from dataclasses import replace

import pytest

from tasks.errors import LedgerFault, WorkerLost
from tasks.ledger import Commit, Granted, Wish, keys
from tasks.ledger.connection import CALLS_A_TRIP
from tests.conftest import make_worker


@pytest.fixture
def trips(ledger, monkeypatch) -> list[int]:
    """The number of calls of each trip."""
    made, ask = [], ledger._ask

    def counted(verbs, texts, independent):
        made.append(len(texts))
        return ask(verbs, texts, independent)

    monkeypatch.setattr(ledger, "_ask", counted)
    return made


def wishes(desk, count: int, ended=()) -> list[Wish]:
    """One each of the slots w1:7:0 ..., with the commits of the attempts that they had."""
    commits = [Commit(each.fixed.id, each.token, {"text": "x"}, [], {}, each.number) for each in ended]
    commits += [None] * (count - len(commits))
    return [Wish(f"w1:7:{n}", desk.token(), commit=commits[n]) for n in range(count)]


def jobs_of(granted) -> list:
    return [each.claimed and each.claimed.fixed for each in granted]


def test_slots_get_the_next_jobs_in_their_order_by_one_trip(desk, ledger, worker, trips):
    """Those for which nothing waits get none."""
    jobs = [desk.submit() for _ in range(3)]
    trips.clear()
    assert jobs_of(ledger.claim_many(worker, wishes(desk, 5))) == [*jobs, None, None]
    assert trips == [5]


def test_what_has_ended_makes_room_for_the_next(desk, ledger, worker, trips):
    """Each slot's commit comes before its claim; all of it is one trip."""
    jobs = [desk.submit() for _ in range(6)]
    first = ledger.claim_many(worker, wishes(desk, 3))
    trips.clear()
    second = ledger.claim_many(worker, wishes(desk, 3, [each.claimed for each in first]))
    assert [each.committed for each in second] == ["succeeded"] * 3 and jobs_of(second) == jobs[3:]
    assert [desk.status(job) for job in jobs] == ["succeeded"] * 3 + ["running"] * 3
    assert trips == [6]


def test_asked_again_all_of_it_is_answered_as_it_was(desk, ledger, worker):
    """The reply was lost: nothing is committed or started twice."""
    jobs = [desk.submit() for _ in range(5)]
    first = ledger.claim_many(worker, wishes(desk, 2))
    asked = wishes(desk, 2, [each.claimed for each in first])
    once, again = ledger.claim_many(worker, asked), ledger.claim_many(worker, asked)
    assert jobs_of(once) == jobs_of(again) == jobs[2:4]
    assert [each.committed for each in again] == ["succeeded"] * 2
    assert desk.status(jobs[4]) == "queued"


def test_tenants_share_what_is_handed_out_together(desk, ledger, worker):
    """As many to one that has few as if each claim had come alone."""
    for _ in range(20):
        desk.submit(tenant="big")
    for _ in range(3):
        desk.submit(tenant="small")
    assert [job.tenant for job in jobs_of(ledger.claim_many(worker, wishes(desk, 6)))].count("small") == 3


def test_a_worker_gets_no_more_of_one_model_than_two_of_its_batches(desk, ledger, worker):
    """However many slots ask at once; the others get the other model's."""
    for _ in range(8):
        desk.submit()
    for _ in range(3):
        desk.submit(kind="caption", model="cnn-lstm", priority=-10)
    granted = ledger.claim_many(replace(worker, most=[2, 0]), wishes(desk, 6))
    assert [job and job.model for job in jobs_of(granted)] == ["lstm"] * 2 + ["cnn-lstm"] * 3 + [None]


def test_a_job_that_must_be_alone_gets_no_neighbour_from_the_same_trip(desk, ledger, worker):
    """Nothing behind it is handed out."""
    lost = desk.running(priority=10)
    desk.fail(lost, WorkerLost("the process that ran the job is gone"))
    desk.submit(), desk.submit()
    assert [job and job.id for job in jobs_of(ledger.claim_many(worker, wishes(desk, 3)))] == [
        lost.fixed.id,
        None,
        None,
    ]


def test_one_that_fails_fails_alone_and_claims_nothing(desk, ledger, worker):
    """Its slot keeps what it held; those before and behind it are served."""
    jobs = [desk.submit() for _ in range(6)]
    first = [each.claimed for each in ledger.claim_many(worker, wishes(desk, 3))]
    record = ledger.redis.dump(keys.job(jobs[1].id))
    ledger.redis.delete(keys.job(jobs[1].id))
    ledger.redis.set(keys.job(jobs[1].id), "no record")
    granted = ledger.claim_many(worker, wishes(desk, 3, first))
    assert [type(each) for each in granted] == [Granted, LedgerFault, Granted]
    assert jobs_of([granted[0], granted[2]]) == jobs[3:5]
    ledger.redis.restore(keys.job(jobs[1].id), 0, record, replace=True)
    assert ledger.redis.hget(keys.slots("w1"), "w1:7:1") == f"{first[1].token} {jobs[1].id}"
    assert desk.status(jobs[5]) == "queued"


def test_more_than_fit_a_trip_are_several(desk, ledger, worker, trips):
    """A hundred calls, or so many bytes."""
    jobs = [desk.submit() for _ in range(CALLS_A_TRIP // 2 + 1)]
    granted = ledger.claim_many(worker, wishes(desk, len(jobs)))
    trips.clear()
    ended = wishes(desk, len(jobs), [each.claimed for each in granted])
    assert [each.committed for each in ledger.claim_many(worker, ended)] == ["succeeded"] * len(jobs)
    assert trips == [CALLS_A_TRIP, 2]
    large = [desk.submit() for _ in range(3)]
    granted = ledger.claim_many(worker, wishes(desk, 3))
    long = [
        replace(wish, commit=replace(wish.commit, result={"text": "x" * 100_000}))
        for wish in wishes(desk, 3, [each.claimed for each in granted])
    ]
    trips.clear()
    assert [each.committed for each in ledger.claim_many(worker, long)] == ["succeeded"] * 3
    assert trips == [4, 2] and [desk.status(job) for job in large] == ["succeeded"] * 3


def test_another_process_of_the_worker_may_get_what_this_one_may_not(desk, ledger):
    """Slots are told apart by their processes, also within a trip."""
    worker = make_worker()
    lost = desk.running(priority=10)
    desk.fail(lost, WorkerLost("the process that ran the job is gone"))
    other = desk.submit()
    asked = [Wish("w1:7:0", desk.token()), Wish("w1:7:1", desk.token()), Wish("w1:8:0", desk.token())]
    assert jobs_of(ledger.claim_many(worker, asked)) == [lost.fixed, None, other]
