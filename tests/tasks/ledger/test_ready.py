"""Nothing happens before the keeper has reconciled with this start of Redis, and a Redis that is away is no hang."""

import signal

import pytest

from tasks.errors import DeadlineExceeded, NotReady
from tasks.ledger import Idempotency, Ledger, keys
from tasks.ledger.owed import Owed
from tasks.ledger.schedules import Scheduled
from tasks.ledger.usage import Change
from tests.conftest import make_fixed, make_worker
from tests.stack import RedisServer, make_settings


def end_of(claimed) -> dict[str, str]:
    """The end of a job with a webhook, as settle has it."""
    webhook, retained_ms = "c https://a.example/x", "1800000000000"
    told = {"id": claimed.fixed.id, "webhook": webhook, "status": "succeeded", "retained_ms": retained_ms}
    return {"tenant": claimed.fixed.tenant, **told}


def owed(claimed) -> Owed:
    return Owed(claimed.fixed.tenant, claimed.fixed.id, "https://a.example/x", "succeeded", 0, 0, 1.0)


CHANGE = Change(9_999_999_999_999, {"[1]": "2 3"})
ASK = {
    "submit": lambda ledger, c: ledger.submit(make_fixed()),
    "claim": lambda ledger, c: ledger.claim(make_worker(), "w1:9", "9" * 32),
    "renew": lambda ledger, c: ledger.renew(make_worker()),
    "report": lambda ledger, c: ledger.report(c.fixed.id, c.token, "running", 0.5),
    "commit": lambda ledger, c: ledger.commit(c.fixed.id, c.token, {}, [], {}),
    "fail": lambda ledger, c: ledger.fail(c.fixed.id, c.token, DeadlineExceeded("")),
    "release": lambda ledger, c: ledger.release(c.fixed.id, c.token),
    "amend": lambda ledger, c: ledger.amend(c.fixed, c.fixed.model_copy(update={"priority": 2}), "change_1"),
    "cancel": lambda ledger, c: ledger.cancel(c.fixed.tenant, c.fixed.id),
    "cite": lambda ledger, c: ledger.cite(c.fixed.id, "abc", c.token),
    "hand_on": lambda ledger, c: ledger.hand_on(),
    "let_go": lambda ledger, c: ledger.let_go("acme", c.fixed.id),
    "sweep": lambda ledger, c: ledger.sweep("cpu"),
    "due": lambda ledger, c: ledger.due(),
    "expire": lambda ledger, c: ledger.expire(DeadlineExceeded("")),
    "forget": lambda ledger, c: ledger.forget(c.fixed),
    "shrink": lambda ledger, claimed: ledger.shrink(claimed.fixed.id, None, ["result"]),
    "note_use": lambda ledger, claimed: ledger.note_use("key-1"),
    "look": lambda ledger, claimed: ledger.look(keys.tenant_jobs("acme"), "+inf", "", "-inf", ["queued", "", ""], 9, 9),
    "limits": lambda ledger, claimed: ledger.limits("acme"),
    "upload": lambda ledger, claimed: ledger.upload("acme", "upload_1", 7, 60, a_minute=2),
    "count": lambda ledger, claimed: ledger.count("acme", claimed.fixed.id, 7),
    "pause": lambda ledger, claimed: ledger.pause("pool/cpu", ""),
    "resume": lambda ledger, claimed: ledger.resume("pool/cpu"),
    "move": lambda ledger, claimed: ledger.move("cpu.generate:lstm", "gpu.generate:lstm"),
    "orphan": lambda ledger, claimed: ledger.orphan("cpu.generate:lstm", DeadlineExceeded("")),
    "unpark": lambda ledger, claimed: ledger.unpark("acme"),
    "write": lambda ledger, claimed: ledger.write(("SET", "bl:stock", "")),
    "put_schedule": lambda ledger, claimed: ledger.put_schedule(Scheduled("s1", "acme", "c1", "{}", 5, 7)),
    "settle_chains": lambda ledger, claimed: ledger.settle_chains(),
    "settle": lambda ledger, claimed: ledger.settle("webhook", [end_of(claimed)]),
    "take_owed": lambda ledger, claimed: ledger.take_owed("webhook", "k1", "t1", [(("acme", "a.example"), 4)], 30),
    "tell_owed": lambda ledger, claimed: ledger.tell_owed("webhook", owed(claimed), "delivered", "answered 200", 200),
    "replay_owed": lambda ledger, claimed: ledger.replay_owed("webhook", "acme", claimed.fixed.id),
    "count_usage": lambda ledger, claimed: ledger.count_usage("0-0", "7-1", {("acme", "2027-01"): CHANGE}),
    "open_batch": lambda ledger, claimed: ledger.open_batch("acme", "batch_x", 2, 3, 500, Idempotency("d", "f")),
    "note_batch": lambda ledger, claimed: ledger.note_batch("acme", "batch_x", "sealed", 60),
    "give_back": lambda ledger, claimed: ledger.give_back("acme", Idempotency("d", "f"), claimed.fixed.id),
}
LOOK = {
    "record": lambda ledger, c: ledger.record(c.fixed.id),
    "position": lambda ledger, c: ledger.position({"status": "queued", "line": "l", "fixed": '{"id": "x"}'}),
    "reserve": lambda ledger, c: ledger.reserve("acme", Idempotency("d", "f"), "job_x"),
    "ready": lambda ledger, c: ledger.ready(),
    "set_epoch": lambda ledger, c: ledger.set_epoch(),
}


@pytest.mark.parametrize("epoch", [None, "0" * 40])
@pytest.mark.parametrize("verb", sorted(set(ASK)))
def test_without_the_epoch_of_this_start_no_verb_does_anything(desk, ledger, verb, epoch):
    """Empty, older or restarted Redis: not ready, and every key is as it was."""
    claimed = desk.running()
    desk.submit()
    ledger.redis.set(keys.EPOCH, epoch) if epoch else ledger.redis.delete(keys.EPOCH)
    before = snapshot(ledger)
    with pytest.raises(NotReady, match="has not yet reconciled") as caught:
        ASK[verb](ledger, claimed)
    assert caught.value.retryable and snapshot(ledger) == before


def snapshot(ledger):
    return {key: ledger.redis.dump(key) for key in ledger.redis.keys("*")}


def test_ready_says_what_is_missing(ledger):
    ledger.ready()
    ledger.redis.delete(keys.EPOCH)
    with pytest.raises(NotReady, match="has not yet reconciled"):
        ledger.ready()


def test_any_eviction_policy_but_noeviction_is_refused(ledger):
    """With another, Redis would silently drop jobs."""
    ledger.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(NotReady, match="allkeys-lru; Backlot needs noeviction"):
            ledger.ready()
    finally:
        ledger.redis.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of this test alone, to be killed and frozen."""
    server = RedisServer(tmp_path, "own-redis")
    yield server
    server.signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def own_ledger(own_redis, s3_server, tmp_path):
    made = Ledger(make_settings(own_redis.url(), s3_server, "none", tmp_path))
    made.set_epoch()
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_redis_that_is_away_is_not_ready_and_no_hang(own_redis, own_ledger, how):
    """Every verb and every look says so; the text names neither address nor password."""
    job = make_fixed()
    own_ledger.submit(job)
    claimed = own_ledger.claim(make_worker(), "w1:0", "1")
    own_redis.kill() if how == "killed" else own_redis.signal(signal.SIGSTOP)
    asked = {**ASK, **LOOK} if how == "killed" else {"submit": ASK["submit"], "record": LOOK["record"]}
    for ask in asked.values():
        with pytest.raises(NotReady, match="Redis did not answer") as caught:
            ask(own_ledger, claimed)
        assert "127.0.0.1" not in caught.value.detail and "password" not in caught.value.detail


def test_the_client_gives_up_within_two_seconds(own_ledger):
    """By its timeouts: connecting and reading, each at most twice, whatever redis-py's defaults may be."""
    options = own_ledger.redis.connection_pool.connection_kwargs
    tries = 1 + options["retry"].get_retries()
    assert tries * options["socket_timeout"] + options["socket_connect_timeout"] < 2


def test_a_killed_redis_comes_back_with_all_it_had_and_waits_for_the_keeper(own_redis, own_ledger):
    """The append-only file holds every answered verb; a restart has another run_id, so the epoch no longer fits."""
    waiting, running = make_fixed(), make_fixed()
    own_ledger.submit(running)
    claimed = own_ledger.claim(make_worker(), "w1:0", "1")
    own_ledger.submit(waiting)
    own_redis.kill()
    own_redis.start()
    own_redis.until_up(lambda: own_redis.client().ping())
    with pytest.raises(NotReady):
        own_ledger.commit(running.id, claimed.token, {}, [], {})
    own_ledger.set_epoch()
    assert own_ledger.commit(running.id, claimed.token, {}, [], {}) == "succeeded"
    assert own_ledger.claim(make_worker(), "w1:0", "2").fixed == waiting
