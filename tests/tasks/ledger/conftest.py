"""A ledger whose clock the test holds, and short names for what these tests do all the time."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from pydantic import SecretStr

from tasks.errors import StorageUnavailable
from tasks.job import Fixed
from tasks.ledger import Claimed, Ledger, Worker, connect, keys
from tasks.settings import Settings
from tests.conftest import PATIENT_S, make_fixed, make_worker
from tests.stack import PASSWORD, ROOT, RedisServer

VERBS = sorted(path.stem for path in (ROOT / "tasks/ledger/scripts").glob("[a-z]*.lua"))
AWAY = StorageUnavailable("the bucket did not answer")


class Clock:
    """Milliseconds since 1970 that pass only when told to."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class Desk:
    """What a test does with the ledger, in few words. Tokens ascend by themselves, as a worker's do."""

    ledger: Ledger
    worker: Worker
    tokens: int = 0

    def submit(self, **changes) -> Fixed:
        fixed = make_fixed(**changes)
        self.ledger.submit(fixed)
        return fixed

    def claim(self, slot: str = "0", worker: str = "w1", pool: str = "cpu", **more) -> Claimed | None:
        return self.ledger.claim(make_worker(worker, pool), f"{worker}:{slot}", self.token(), **more)

    def token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:032d}"

    def running(self, **changes) -> Claimed:
        """A job of its own that one attempt has."""
        fixed = self.submit(**changes)
        claimed = self.claim(slot=fixed.id, pool=fixed.pool)
        assert claimed.fixed.id == fixed.id, "another job was waiting"
        return claimed

    def commit(self, claimed: Claimed, **result) -> str:
        return self.ledger.commit(claimed.fixed.id, claimed.token, result, [], {"run_s": 1.5})

    def fail(self, claimed: Claimed, error=AWAY, delay_s: float = 0, **more) -> str:
        return self.ledger.fail(claimed.fixed.id, claimed.token, error, delay_s, **more)

    def release(self, claimed: Claimed, **more) -> str:
        return self.ledger.release(claimed.fixed.id, claimed.token, **more)

    def cancel(self, job: Fixed | Claimed) -> str:
        fixed = getattr(job, "fixed", job)
        return self.ledger.cancel(fixed.tenant, fixed.id)

    def status(self, job: Fixed | Claimed) -> str:
        return self.record(job)["status"]

    def record(self, job: Fixed | Claimed) -> dict[str, str]:
        return self.ledger.record(getattr(job, "fixed", job).id)

    def attempts(self, job: Fixed | Claimed) -> list[tuple[str, str | None]]:
        """Of each attempt: its outcome, and the code of its error."""
        record = self.record(job)
        listed = [json.loads(record[f"attempt:{n}"]) for n in range(1, int(record.get("starts", 0)) + 1)]
        return [(a.get("outcome"), a.get("error", {}).get("code")) for a in listed]

    def line(self, name: str = "cpu.generate:lstm") -> list[str]:
        return self.ledger.redis.zrange(keys.line(name), 0, -1)

    def drain(self, most: int = 10_000) -> list[Fixed]:
        """Claim and commit until nothing waits; the jobs in the order in which they were handed out."""
        done = []
        while len(done) < most and (claimed := self.claim()):
            self.commit(claimed)
            done.append(claimed.fixed)
        return done

    def swept(self, after_s: float = 0) -> list[str]:
        """Sweeps of the pool cpu once a second for so long, as the keeper makes them; the queues of all."""
        queues = self.ledger.sweep("cpu")
        for _ in range(round(after_s)):
            self.ledger.clock.forward(1)
            queues += self.ledger.sweep("cpu")
        return queues


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(settings, clock) -> Ledger:
    """The ledger on a clock that the test holds; its epoch is set. A busy machine is no reason to fail."""
    made = Ledger(settings, connect(settings, read_timeout_s=PATIENT_S), clock)
    made.set_epoch()
    return made


@pytest.fixture
def desk(ledger: Ledger, worker: Worker) -> Desk:
    return Desk(ledger, worker)


@pytest.fixture
def settings_as_user(settings: Settings, redis_server: RedisServer) -> Iterator[Callable[..., Settings]]:
    """settings_as_user("-fcall"): those of a user who has all rights but these."""

    def build(*rights: str) -> Settings:
        client = redis_server.client()
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">own", "~*", "&*", "+@all", *rights)
        url = settings.redis_url.get_secret_value().replace(f":{PASSWORD}@", "limited:own@")
        return settings.model_copy(update={"redis_url": SecretStr(url)})

    yield build
    redis_server.client().execute_command("ACL", "DELUSER", "limited")


@pytest.fixture
def events(ledger: Ledger) -> Callable[[str], list[str]]:
    """The statuses of a job, as the event stream told them."""
    return lambda job_id: [e["status"] for _, e in ledger.redis.xrange(keys.EVENTS) if e["id"] == job_id]


@pytest.fixture
def journal(ledger: Ledger) -> Callable[[], list[dict[str, str]]]:
    return lambda: [entry for _, entry in ledger.redis.xrange(keys.JOURNAL)]


def with_lines(worker: Worker, *lines: str) -> Worker:
    return replace(worker, lines=list(lines))
