"""Redis rolls nothing back: a script that fails has written nothing, whatever is wrong with an argument or with a key
that is a job's, a worker's or a tenant's own."""

import json

import pytest
from redis.exceptions import ResponseError

from tasks.delivery import OutputRequest
from tasks.job import Upload
from tasks.ledger import Idempotency, keys, lua
from tasks.webhook import WebhookRequest
from tests.conftest import make_fixed
from tests.tasks.ledger.conftest import AWAY
from tests.tasks.ledger.test_ready import ASK

TRIED = sorted({*ASK, "conclude"})
GARBAGE = ("x", "", "\udcff", "{", "-1e999")
SHARED = tuple(value for value in vars(keys).values() if isinstance(value, str) and value.startswith("bl:"))
POOLS = tuple(of("") for of in (keys.leases, keys.fair, keys.swept, keys.idle, keys.line))
"""Of the whole service: that they are of their types is the server's state, not a job's."""


class Bench:
    """A database that is put back as it was after each try."""

    def __init__(self, desk, verb):
        self.redis, self.verb, self.ledger = desk.ledger.redis, verb, desk.ledger
        owes = {"webhook": WebhookRequest(url="https://a.example/x")} if "owed" in verb else {}
        self.claimed, waiting = desk.running(**owes), desk.submit()
        self.record = desk.ledger.record(self.claimed.fixed.id)
        desk.cancel(desk.submit())
        if verb in ("forget", "shrink", "conclude") or owes:
            desk.commit(self.claimed) if verb != "conclude" else None
        if verb == "sweep":
            desk.swept(after_s=9)
            desk.ledger.clock.forward(2)
        if verb == "expire":
            desk.ledger.clock.forward(waiting.queue_ttl_s + 1)
        if verb == "settle_chains":
            desk.submit(waits_for=[waiting.id])
            desk.cancel(waiting)
        if verb == "due":
            desk.submit(start_ms=desk.ledger.clock.ms + 1000)
            desk.ledger.clock.forward(2)
        self.waiting = waiting
        self.before = self.dump()
        asked, ask = {}, desk.ledger._ask

        def note(verbs, texts, independent):
            asked.update((call[0], call[1:]) for call in map(json.loads, texts))
            return ask(verbs, texts, independent)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(desk.ledger, "_ask", note)
            self.ask(desk.ledger)
        self.keys, self.args = asked[verb]
        self.after = self.dump()
        self.put_back()

    def ask(self, ledger):
        if self.verb == "submit":
            uploads = {"upload_1": Upload(key="k", bytes=3, etag="e")}
            owes = {"webhook": WebhookRequest(url="https://a.example/x"), "output": OutputRequest(url="s3://theirs/")}
            owes["waits_for"] = [self.claimed.fixed.id]
            ledger.submit(make_fixed(uploads=uploads, deadline_s=60, **owes), Idempotency("d", "f"))
        elif self.verb == "amend":
            later = {"start_ms": ledger.clock.ms + 1000, "priority": 2}
            ledger.amend(self.waiting, self.waiting.model_copy(update=later), "change_1")
        elif self.verb == "conclude":
            ledger.conclude(
                self.claimed.fixed.id, {**self.record, "ended_ms": "1", "status": "canceled", "retained_ms": "2"}
            )
        elif self.verb == "commit":
            ledger.commit(self.claimed.fixed.id, self.claimed.token, {}, [{"bytes": 3}], {}, 1)
        elif self.verb == "fail":
            ledger.fail(self.claimed.fixed.id, self.claimed.token, AWAY, 1, {"run_s": 1}, 1)
        else:
            ASK[self.verb](ledger, self.claimed)

    def dump(self):
        return {key: self.redis.dump(key) for key in self.redis.keys("*")}

    def put_back(self):
        self.redis.flushdb()
        for key, value in self.before.items():
            self.redis.restore(key, 0, value)

    def tried(self, args=None):
        """Whether the script failed; it fails this test where one that failed has written."""
        before = self.dump()
        try:
            call = json.dumps([self.verb, self.keys, args or self.args], ensure_ascii=False)
            ((failed, words),) = self.redis.execute_command(
                *lua.library().run, "", 0, call.encode("utf-8", "surrogateescape")
            )
        except ResponseError as error:
            failed, words = 1, error
        if failed:
            after = self.dump()
            changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
            assert not changed, f"{words} {args or ''}"
        return bool(failed)


@pytest.fixture
def bench(desk, verb):
    desk.ledger.redis.connection_pool.connection_kwargs.update(decode_responses=False)
    return Bench(desk, verb)


@pytest.mark.parametrize("verb", TRIED)
def test_a_bad_argument_changes_nothing_where_it_is_refused(bench):
    for place in range(1, len(bench.args)):
        for garbage in GARBAGE:
            args = [*bench.args]
            args[place] = garbage
            bench.tried(args)
            bench.put_back()


@pytest.mark.parametrize("verb", TRIED)
def test_a_key_of_another_type_changes_nothing_where_it_is_refused(bench):
    own = [key for key in {*bench.before, *bench.after} if key not in SHARED and not key.startswith(POOLS)]
    assert own
    for key in own:
        kind = bench.redis.type(key)
        bench.redis.delete(key)
        bench.redis.rpush(key, "x") if kind == "string" else bench.redis.set(key, "x")
        bench.tried()
        bench.put_back()
