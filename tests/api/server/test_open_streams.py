"""Event streams without a server: beats, keys that count no more, slow listeners, a Redis that is away."""

import asyncio

import pytest

from api.events import BEAT, Telling
from api.server import following, streams
from api.server.following import OfTenant
from api.server.streams import OfJob, Streams
from tasks.errors import NotReady
from tasks.job import Job
from tasks.ledger import keys
from tasks.ledger.events import Events
from tasks.service.looks import Looks
from tests.stack import until


@pytest.fixture
def all_streams(settings, ledger, monkeypatch) -> Streams:
    """With beats each 50 ms."""
    monkeypatch.setattr(streams, "BEAT_S", 0.05)
    monkeypatch.setattr(streams, "AWAY_S", 0.05)
    return Streams(Events(settings), Looks(ledger), settings)


@pytest.fixture
def job(ledger, fixed) -> Job:
    made = fixed()
    ledger.submit(made)
    return Job.of_record(ledger.record(made.id))


class Listener:
    """Takes what a stream sends; blocks while `reads` is not set."""

    def __init__(self, all_streams: Streams, job: Job, may_go_on=lambda: True, stream: OfTenant | None = None) -> None:
        self.parts: list[bytes] = []
        self.reads, self.left = asyncio.Event(), asyncio.Event()
        self.reads.set()
        all_streams.admit(job.tenant)
        stream = stream or OfJob(job.tenant, job.id, Telling(job, ""))
        self.task = asyncio.ensure_future(all_streams.serve(stream, b"first", self._send, self.left.wait(), may_go_on))

    async def _send(self, part: bytes) -> None:
        await self.reads.wait()
        self.parts.append(part)

    async def got(self, what: bytes) -> None:
        await asyncio.to_thread(until, lambda: any(what in part for part in self.parts), 20, what)


def test_a_silent_stream_beats_until_its_listener_leaves(all_streams, job):
    async def listen():
        heard = Listener(all_streams, job)
        await heard.got(BEAT)
        assert len(all_streams) == 1
        heard.left.set()
        assert await heard.task is False
        assert len(all_streams) == 0 and heard.parts[0] == b"first"

    asyncio.run(listen())


def test_a_key_that_counts_no_more_ends_the_stream(all_streams, job):
    """At the next beat; the listener comes back, and is refused then."""

    async def listen():
        heard = Listener(all_streams, job, may_go_on=lambda: False)
        assert await heard.task is True
        assert heard.parts[-1].startswith(b"retry: ")

    asyncio.run(listen())


def test_a_stream_that_is_never_silent_has_its_key_checked_too(all_streams, job, ledger, worker):
    """A listener whose key was taken back hears no more, whatever happens to its job."""
    revoked = asyncio.Event()

    async def listen():
        heard = Listener(all_streams, job, may_go_on=lambda: not revoked.is_set())
        claimed = await asyncio.to_thread(ledger.claim, worker, "w1:0", f"{1:032d}")
        for number in range(1000):
            await asyncio.to_thread(ledger.report, job.id, claimed.token, progress=number / 1000)
            if number == 10:
                revoked.set()
            if heard.task.done():
                break
        assert await heard.task is True and heard.parts[-1].startswith(b"retry: ")

    asyncio.run(listen())


def test_for_a_slow_listener_nothing_piles_up(all_streams, job, ledger, worker):
    """While it reads nothing no look is made for it; then it hears the newest state, not each on the way."""

    async def listen():
        slow, other = Listener(all_streams, job), Listener(all_streams, job)
        await slow.got(b"first")
        slow.reads.clear()
        claimed = await asyncio.to_thread(ledger.claim, worker, "w1:0", f"{1:032d}")
        await other.got(b'"status":"running"')
        for number in range(1, 5):
            await asyncio.to_thread(ledger.report, job.id, claimed.token, progress=number / 10)
            await other.got(f'"progress": 0.{number}'.encode())
        slow.reads.set()
        await slow.got(b"0.4")
        told = b"".join(slow.parts)
        assert b"0.2" not in told and b"0.3" not in told
        ledger.commit(job.id, claimed.token, {"text": "x"}, [], {})
        await asyncio.gather(slow.task, other.task)
        assert b"event: done" in slow.parts[-1]

    asyncio.run(listen())


def test_an_erased_job_ends_its_stream(all_streams, job, ledger, fixed):
    async def listen():
        heard = Listener(all_streams, job)
        heard.reads.clear()
        ledger.cancel("acme", job.id)
        ledger.forget(fixed(id=job.id))
        heard.reads.set()
        await heard.task
        assert b"retry" not in b"".join(heard.parts)

    asyncio.run(listen())


def test_while_redis_has_lost_its_records_a_stream_waits(all_streams, job, ledger):
    """A flush is no erasure: the stream beats, and tells the end once the keeper has put the job back."""

    async def listen():
        heard = Listener(all_streams, job)
        await heard.got(BEAT)
        kept = ledger.record(job.id)
        ledger.redis.flushdb()
        heard.parts.clear()
        await heard.got(BEAT)
        assert not heard.task.done()
        ledger.redis.hset(f"bl:job:{job.id}", mapping={**kept, "status": "canceled", "ended_ms": 1})
        ledger.set_epoch()
        await heard.task
        assert b"event: done" in heard.parts[-1]

    asyncio.run(listen())


def test_a_stream_that_cannot_begin_asks_its_listener_to_come_back(all_streams, job, monkeypatch):
    def away(*_):
        raise NotReady("Redis did not answer")

    async def listen():
        monkeypatch.setattr(all_streams._events, "join", away)
        heard = Listener(all_streams, job)
        assert await heard.task is True
        assert heard.parts[-1].startswith(b"retry: ")

    asyncio.run(listen())


def test_a_tenants_stream_beats_with_its_cursor(all_streams, job, ledger):
    """So that a listener to which nothing happens can come back after an hour."""

    async def listen():
        heard = Listener(all_streams, job, stream=OfTenant("rival", {}, ""))
        await heard.got(BEAT)
        ledger.cancel("acme", job.id)
        newest = ledger.redis.xrevrange(keys.EVENTS, count=1)[0][0]
        await heard.got(f"id: {newest}\n\n".encode())
        heard.left.set()
        await heard.task

    asyncio.run(listen())


def test_a_slow_listener_of_a_tenant_is_cut_off_and_the_others_hear_all(all_streams, job, ledger, fixed, monkeypatch):
    """At the bound of what waits for it; its task ends, whatever it reads."""
    monkeypatch.setattr(following, "BUFFER", 3)
    monkeypatch.setattr(streams, "STOP_S", 0.05)

    async def listen():
        slow, other = (Listener(all_streams, job, stream=OfTenant("acme", {}, "")) for _ in "ab")
        await slow.got(b"id: ")
        await other.got(b"id: ")
        slow.reads.clear()
        made = [fixed() for _ in range(6)]
        for one in made:
            ledger.submit(one)
            await other.got(one.id.encode())
        assert await slow.task is False
        assert len(all_streams) == 1 and not other.task.done()

    asyncio.run(listen())


def test_a_stream_that_was_lost_ends_all_tenants_streams(all_streams, job, ledger):
    """They come back with their last event, and learn then that it is not kept any more."""

    async def listen():
        heard = Listener(all_streams, job, stream=OfTenant("acme", {}, ""))
        await heard.got(b"id: ")
        ledger.redis.delete(keys.EVENTS)
        ledger.redis.xadd(keys.EVENTS, {"id": "other"}, id="5-1")
        await asyncio.to_thread(all_streams._events._look_again)
        assert await heard.task is True
        assert heard.parts[-1].startswith(b"retry: ")
        last = heard.parts[1].removeprefix(b"id: ").strip().decode()
        again = Listener(all_streams, job, stream=OfTenant("acme", {}, last))
        await again.got(b"event: reset")

    asyncio.run(listen())


def test_a_listener_that_reads_nothing_is_cut_off_at_the_end(all_streams, job, monkeypatch):
    """The process does not wait for it."""
    monkeypatch.setattr(streams, "STOP_S", 0.05)

    async def listen():
        heard = Listener(all_streams, job)
        await heard.got(b"first")
        heard.reads.clear()
        all_streams.stop()
        assert await heard.task is False

    asyncio.run(listen())
