"""The epoch is the server's that was reconciled with, and nobody else's: a failover there and back, a keeper that comes
too late, a key that a stranger holds."""

import pytest

from tasks.errors import NotReady
from tasks.ledger import Idempotency, Ledger, connect, keys
from tasks.service.jobs import Jobs
from tests.conftest import make_fixed
from tests.stack import RedisServer, make_settings, make_storage, until
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore

KEY = Idempotency("digest", "fingerprint")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two servers, the second the first's replica at times."""
    made = [RedisServer(tmp_path_factory.mktemp("pair"), f"redis-{n}") for n in (1, 2)]
    for one in made:
        one.client().config_set("masterauth", "a-password-for-tests")
    yield made
    for one in made:
        one.stop()


@pytest.fixture
def here(pair, s3_server, tmp_path):
    return make_settings(pair[0].url(), s3_server, "epoch", tmp_path)


def test_a_failover_there_and_back_is_told_on_a_connection_that_lived(pair, here, tmp_path, s3_server):
    """The first server comes back with the same run_id and an older memory: nothing is done there until the keeper has
    put back what it missed."""
    first, second = pair
    storage = make_storage(here)
    ledger = Ledger(here)
    ledger.set_epoch()
    before = make_fixed()
    ledger.submit(before)
    second.client().replicaof("127.0.0.1", first.port)
    until(lambda: second.client().exists(keys.job(before.id)), 30, "the replica has followed")

    second.client().replicaof("NO", "ONE")
    there = make_settings(second.url(), s3_server, "epoch", tmp_path)
    elsewhere = Ledger(there)
    with pytest.raises(NotReady, match="not yet reconciled"):
        elsewhere.submit(make_fixed())
    Restore(there, connect(there), storage).run()
    missed = make_fixed()
    elsewhere.submit(missed)
    Journal(elsewhere, storage).write_segment()

    run_id = first.client().info("server")["run_id"]
    first.client().replicaof("127.0.0.1", 1)
    with pytest.raises(NotReady, match="READONLY"):
        ledger.submit(make_fixed())
    first.client().replicaof("NO", "ONE")
    assert first.client().info("server")["run_id"] == run_id == first.client().get(keys.EPOCH)
    for ask in (
        lambda: ledger.submit(make_fixed()),
        ledger.ready,
        lambda: ledger.snapshot(lambda together: None),
        lambda: ledger.reserve("acme", KEY, missed.id),
        lambda: ledger.write(("SET", "bl:stock", "")),
    ):
        with pytest.raises(NotReady, match="not yet reconciled"):
            ask()
    assert Restore(here, connect(here), storage).run()["queued"] == 1
    assert ledger.record(missed.id)["status"] == "queued" and ledger.record(before.id)["status"] == "queued"
    ledger.ready(by_this_release=True)


def test_a_keeper_that_comes_too_late_ends_no_restore(ledger):
    """Its time is over and another has begun: it may put nothing back and says nothing of the server."""
    ledger.redis.delete(keys.EPOCH)
    late = ledger.begin_restore("late")
    ledger.redis.delete(keys.RESTORING)
    ledger.begin_restore("another")
    for ask in (
        lambda: ledger.set_epoch(late),
        lambda: ledger.submit(make_fixed(), restoring="late"),
        lambda: ledger.conclude("job_x", {}, "late"),
        lambda: ledger.begin_restore("late"),
        lambda: ledger.write(("SET", keys.STOCK, ""), restoring="late"),
    ):
        with pytest.raises(NotReady):
            ask()
    assert not ledger.redis.exists(keys.EPOCH, keys.STOCK)


def test_a_keeper_ends_no_restore_of_another_server(ledger):
    """It began on one that is gone since; its token came along with the memory."""
    ledger.redis.delete(keys.EPOCH)
    begun = ledger.begin_restore("mine")
    other = type(begun)("mine", begun.run_id, "0" * 40)
    with pytest.raises(NotReady, match="another Redis"):
        ledger.set_epoch(other)
    assert not ledger.redis.exists(keys.EPOCH)
    ledger.set_epoch(begun)
    ledger.ready(by_this_release=True)


def test_while_one_restores_nobody_may_use_the_server_and_its_time_is_prolonged(ledger):
    ledger.redis.set(keys.EPOCH_REPLID, f"{ledger.redis.get(keys.EPOCH)} another")
    ledger.begin_restore("mine")
    with pytest.raises(NotReady):
        ledger.submit(make_fixed())
    ledger.redis.pexpire(keys.RESTORING, 5)
    ledger.begin_restore("mine")
    assert ledger.redis.pttl(keys.RESTORING) > 10_000


@pytest.mark.parametrize("left", ["", f"{'0' * 40} {'1' * 40}"])
def test_an_epoch_of_the_release_before_counts_until_a_keeper_of_this_one_comes(ledger, left):
    """Also beside what a keeper of this release had said of the server's start before."""
    ledger.redis.delete(keys.EPOCH_REPLID)
    if left:
        ledger.redis.set(keys.EPOCH_REPLID, left)
    ledger.ready()
    ledger.snapshot(lambda together: None)
    ledger.submit(make_fixed())
    with pytest.raises(NotReady):
        ledger.ready(by_this_release=True)


@pytest.mark.parametrize(("held", "after"), [("job_other fp uploading", "mine"), ("job_other fp", "theirs")])
def test_a_key_that_somebody_holds_blocks_no_restore(ledger, held, after):
    """A form that was sent again after the flush, by an API of the release before: the job lives all the same."""
    ledger.redis.delete(keys.EPOCH)
    begun, job = ledger.begin_restore("mine"), make_fixed()
    key = keys.idempotency("acme", KEY.digest)
    ledger.redis.set(key, held)
    ledger.submit(job, KEY, restoring="mine")
    ledger.set_epoch(begun)
    assert ledger.record(job.id)["status"] == "queued"
    assert ledger.redis.get(key) == {"mine": f"{job.id} {KEY.fingerprint}", "theirs": held}[after]
    assert [entry["id"] for _, entry in ledger.redis.xrange(keys.FAULTS)] == [job.id]


def test_a_key_is_not_held_before_the_restore(ledger, settings):
    ledger.redis.flushdb()
    with pytest.raises(NotReady):
        ledger.reserve("acme", KEY, "job_x")
    with pytest.raises(NotReady):
        Jobs.of(settings).ledger.give_back("acme", KEY, "job_x")
    assert not ledger.redis.exists(keys.idempotency("acme", KEY.digest))
