"""Who is next: tenants and kinds share a pool, priority moves a job a bounded number of places, and nothing starves."""

from itertools import groupby

import pytest

from tasks.errors import DeadlineExceeded

LATE = DeadlineExceeded("deadline_s passed")
PLACES = 10  # a point of priority


def tenants(jobs):
    return [job.tenant for job in jobs]


def test_a_tenant_with_few_jobs_does_not_wait_for_one_with_many(desk):
    """100 jobs lie there; three of another tenant are handed out among the next six."""
    for _ in range(100):
        desk.submit(tenant="big")
    for _ in range(3):
        desk.submit(tenant="small")
    assert tenants(desk.drain(7)).count("small") == 3


def test_tenants_with_many_jobs_take_turns(desk):
    """Of any nine in a row, three tenants get three each."""
    for tenant in ("a", "b", "c"):
        for _ in range(30):
            desk.submit(tenant=tenant)
    order = tenants(desk.drain())
    for start in range(0, 90, 9):
        assert sorted(order[start : start + 9]) == sorted("abc" * 3)


def test_kinds_of_one_tenant_do_not_take_from_another(desk):
    """A tenant that uses two kinds gets one share, not two."""
    for _ in range(30):
        desk.submit(tenant="two", kind="caption", model="cnn-lstm")
        desk.submit(tenant="two")
        desk.submit(tenant="one")
    assert 9 <= tenants(desk.drain(20)).count("one") <= 11


def test_a_single_job_waits_for_few_members_of_its_tenants_batch(desk):
    """2,000 members lie there: a single of the same tenant and one of another have their turns at once."""
    for _ in range(2000):
        desk.submit(tenant="bulk", batch="batch_x")
    single, other = desk.submit(tenant="bulk"), desk.submit(tenant="other")
    order = desk.drain(6)
    assert order.index(other) <= 2 and order.index(single) <= 4


def test_a_tenant_with_both_gets_no_two_shares(desk):
    """While its single jobs and its batches both wait, each has half of its share; its batches together are one."""
    for n in range(40):
        desk.submit(tenant="two", batch=f"batch_{n % 4}")
        desk.submit(tenant="two")
        desk.submit(tenant="one")
    order = desk.drain(40)
    assert 18 <= tenants(order).count("one") <= 22
    assert 8 <= sum(job.batch is not None for job in order) <= 12


def test_members_of_a_tenant_that_may_run_few_are_parked_and_go_on(desk, ledger):
    """Parked members keep their flow: the single is first, then they have their order, and no account is left."""
    members = [desk.submit(tenant="a", batch="batch_x") for _ in range(5)]
    ledger.pause("tenant/a", "")
    assert desk.claim() is None
    single = desk.submit(tenant="a")
    ledger.resume("tenant/a")
    ledger.unpark("a")
    order = desk.drain()
    assert order.index(single) <= 2 and [job for job in order if job is not single and job != single] == members
    assert list(ledger.redis.hgetall("bl:fair:cpu")) == ["clock"]


def test_a_tenant_that_comes_late_waits_for_nobodys_past(desk):
    """What a tenant got while it was alone is not held against it, nor does it earn the newcomer a lead."""
    for _ in range(60):
        desk.submit(tenant="old")
    desk.drain(50)
    for _ in range(60):
        desk.submit(tenant="new")
        desk.submit(tenant="old")
    assert 9 <= tenants(desk.drain(20)).count("new") <= 11


def test_canceling_all_jobs_gives_the_tenant_a_clean_slate(desk, ledger):
    """A thousand submitted by mistake and canceled do not punish the next one."""
    mistake = [desk.submit(tenant="a") for _ in range(200)]
    for _ in range(20):
        desk.submit(tenant="b")
    for job in mistake:
        desk.cancel(job)
    again = desk.submit(tenant="a")
    assert again in desk.drain(3)


@pytest.mark.parametrize("leave", ["cancel", "expire"])
def test_jobs_that_leave_unserved_hold_up_no_later_one(desk, ledger, clock, leave):
    """2,000 submitted in haste, all but the first gone again: a new one has its turn as if they had never come, though
    another tenant has 300 waiting."""
    mistake = [desk.submit(tenant="hasty", queue_ttl_s=60 if n else 3600) for n in range(2000)]
    for _ in range(300):
        desk.submit(tenant="other")
    if leave == "cancel":
        for job in mistake[1:]:
            desk.cancel(job)
    else:
        clock.forward(61)
        while ledger.expire(LATE):
            pass
    new = desk.submit(tenant="hasty")
    assert new in desk.drain(5)


def test_what_ran_once_gives_no_share_back(desk):
    """Else a tenant could run jobs, cancel them while they wait for their retry, and have run them for nothing."""
    for _ in range(20):
        desk.submit(tenant="sly", max_attempts=9)
        desk.submit(tenant="other")
    ran = 0
    while ran < 5:
        claimed = desk.claim()
        if claimed.fixed.tenant == "sly":
            ran += 1
            desk.fail(claimed, delay_s=60)
            desk.cancel(claimed)
            desk.submit(tenant="sly")
        else:
            desk.commit(claimed)
    assert 9 <= tenants(desk.drain(20)).count("other") <= 11


@pytest.mark.parametrize("give_back", ["release", "fail", "sweep"])
def test_a_job_that_comes_back_keeps_its_place(desk, give_back):
    """Before all that came after it, and the tenant's other jobs are not set back."""
    first, *rest = [desk.submit(tenant="a") for _ in range(3)]
    desk.swept()
    claimed = desk.claim()
    if give_back == "sweep":
        desk.swept(after_s=25)
    else:
        getattr(desk, give_back)(claimed)
    assert desk.line() == [first.id, *(job.id for job in rest)]


def test_priority_goes_first_within_a_tenant(desk):
    low, usual, high = desk.submit(priority=-1), desk.submit(), desk.submit(priority=1)
    assert desk.drain() == [high, usual, low]


def test_a_point_of_priority_is_ten_places(desk):
    """With 30 jobs waiting, priority 1 passes ten of them and no more."""
    before = [desk.submit() for _ in range(30)]
    urgent = desk.submit(priority=1)
    order = desk.drain()
    assert 30 - PLACES <= order.index(urgent) <= 30 - PLACES + 1
    assert [job for job in order if job != urgent] == before


def test_priority_buys_a_tenant_no_larger_share(desk):
    """All of a's jobs are urgent, all of b's are not: a is ahead by 100 places once, then they share."""
    for _ in range(250):
        desk.submit(tenant="a", priority=10)
        desk.submit(tenant="b")
    order = tenants(desk.drain())
    assert order[:100] == ["a"] * 100
    assert 45 <= order[100:200].count("b") <= 55


@pytest.mark.parametrize("priority", [0, 10])
def test_a_stream_of_single_jobs_starves_nobody(desk, priority):
    """One tenant submits the next job whenever its last was taken, as urgent as can be; another's job waits, but not
    for ever: 100 places a tenant waiting."""
    patient = desk.submit(tenant="patient")
    taken = []
    while patient not in taken and len(taken) < 500:
        desk.submit(tenant="eager", priority=priority)
        taken += desk.drain(1)
    assert len(taken) <= 2 * PLACES * priority + 3


def test_the_least_urgent_job_is_passed_by_a_bounded_number(desk):
    patient = desk.submit(tenant="patient", priority=-10)
    taken = []
    while patient not in taken and len(taken) < 500:
        desk.submit(tenant="eager")
        taken += desk.drain(1)
    assert len(taken) <= 2 * 100 + 3


def test_three_tenants_one_of_them_always_with_a_single_job_share_alike(desk):
    """Whoever keeps one job waiting gets as much as those who keep fifty."""
    for _ in range(60):
        desk.submit(tenant="a")
        desk.submit(tenant="b")
    desk.submit(tenant="single")
    taken = []
    while len(taken) < 60:
        job = desk.drain(1)[0]
        taken.append(job.tenant)
        if job.tenant == "single":
            desk.submit(tenant="single")
    assert 18 <= taken.count("single") <= 22


def test_a_retry_storm_does_not_hold_up_the_others(desk):
    """Five jobs that fail and come back at once, again and again, leave the others their turns."""
    for _ in range(5):
        desk.submit(tenant="broken", max_attempts=10)
    others = [desk.submit(tenant="fine") for _ in range(5)]
    claims = 0
    while not all(desk.status(job) == "succeeded" for job in others):
        claimed = desk.claim()
        claims += 1
        desk.fail(claimed) if claimed.fixed.tenant == "broken" else desk.commit(claimed)
    assert claims <= 5 * 10 + 5


def test_pools_keep_accounts_apart(desk):
    """Much use of one pool does not set a tenant back in the other."""
    for _ in range(50):
        desk.submit(tenant="a")
    mine, theirs = desk.submit(tenant="a", pool="gpu"), desk.submit(tenant="b", pool="gpu")
    assert {desk.claim(pool="gpu", slot=str(n)).fixed.id for n in range(2)} == {mine.id, theirs.id}
    assert desk.ledger.position(desk.record(desk.submit(tenant="b"))) <= 2


def test_a_tenant_with_nothing_waiting_leaves_no_trace(desk, ledger):
    """The accounts do not grow with tenants that have come and gone."""
    jobs = [desk.submit(tenant=f"t{n}") for n in range(10)]
    desk.cancel(jobs[3])
    desk.drain()
    assert list(ledger.redis.hgetall("bl:fair:cpu")) == ["clock"]


def test_turns_hold_over_a_long_run(desk):
    """No tenant of four is served twice in a row while all of them wait."""
    for _ in range(25):
        for tenant in "abcd":
            desk.submit(tenant=tenant)
    order = tenants(desk.drain())
    assert all(len(list(group)) <= 2 for _, group in groupby(order))
