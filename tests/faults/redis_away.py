"""4. Redis: killed, frozen, full, with its file cut short, robbed of keys, flushed; and a restore of many jobs."""

import json
import os
import signal
import threading
import time

from redis.exceptions import RedisError

from tasks.bucket.layout import job_json_key
from tasks.ids import new_id
from tasks.ledger import keys
from tests.faults import work
from tests.faults.accounts import FLUSHED
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until
from worker.keeper import segments
from worker.keeper.compact import Compactor
from worker.keeper.segments import FOLDER

PERMITTED_S = 5.0
"""The age that a permission of the keeper may reach: until then a Redis that was small a moment ago takes jobs."""
ANSWER_S = 2.0
"""What the API may take to say 503, while Redis is away."""
SLACK_S = 1.0
"""Added for this machine, which runs all of it on two cores."""


class Probe:
    """Asks for known jobs all the while, ten times a second: never 404, never longer than it may take."""

    def __init__(self, place: Place, known: list[str]) -> None:
        self._place, self._known = place, known
        self.answers: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join(90)

    def _ask(self) -> None:
        n = 0
        while not self._over.wait(0.1):
            n += 1
            self.answers.append(self._place.books.once("GET", f"/v1/jobs/{self._known[n % len(self._known)]}"))

    def verdict(self) -> str:
        """For the remark. Errors: AssertionError where an answer was wrong or late."""
        statuses = {status for _, status in self.answers}
        assert statuses <= {200, 503}, f"the API answered {sorted(statuses)}"
        slowest = max((seconds for seconds, status in self.answers if status == 503), default=0.0)
        assert slowest < ANSWER_S + SLACK_S, f"503 came only after {slowest:.1f} s"
        away = sum(status == 503 for _, status in self.answers)
        return f"{away} of {len(self.answers)} questions answered 503, the slowest in {slowest:.2f} s; 404 never"


def _before(place: Place, size: int) -> list[str]:
    """Some jobs that have ended and a load that has not."""
    ended = place.books.submit_all([work.files(pool, f"kept {n}") for n in range(3) for pool in ("cpu", "gpu")])
    place.books.wait(ended, 60)
    until(lambda: _journaled(place, ended), 60, "their job.json is written")
    place.books.submit_all([work.sleep(pool, 0.5) for n in range(size // 2) for pool in ("cpu", "gpu")])
    return ended


def _journaled(place: Place, ids: list[str]) -> bool:
    return all(place.storage.head(job_json_key("acme", one)) for one in ids)


@scenario("4a", "Redis is killed (kill -9) and comes back after 5 s", short=True)
def killed(place: Place, size: int) -> str:
    ended = _before(place, size)
    with Probe(place, ended) as probe:
        place.redis.kill()
        place.books.struck("Redis killed")
        time.sleep(5)
        place.mend()
        place.books.wait(deadline_s=120)
    return probe.verdict()


@scenario("4b", "Redis stands still (SIGSTOP) for 60 s")
def frozen(place: Place, size: int) -> str:
    ended = _before(place, size)
    with Probe(place, ended) as probe:
        os.kill(place.redis.pid, signal.SIGSTOP)
        place.books.struck("Redis stopped")
        time.sleep(60)
        os.kill(place.redis.pid, signal.SIGCONT)
        place.books.wait(deadline_s=120)
    return probe.verdict()


@scenario("4c", "Redis is full: submits are refused, what runs and waits goes on")
def full(place: Place, size: int) -> str:
    _before(place, size)
    client = place.client()
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used)
    place.books.struck("Redis full")
    start = time.monotonic()
    try:
        until(lambda: place.books.once("POST", "/v1/jobs", json=work.noop("cpu"))[1] == 503, PERMITTED_S + SLACK_S)
        seconds = time.monotonic() - start
        place.books.wait(deadline_s=120)
        assert all(entry.first for entry in place.books.entries.values()), "jobs stood still"
    finally:
        client.config_set("maxmemory", 0)
    return f"503 after {seconds:.2f} s"


@scenario("4d", "Redis is killed and its append-only file is cut short")
def cut_short(place: Place, size: int) -> str:
    ended = _before(place, size)
    time.sleep(1.5)  # the journal's segment of a moment ago is to be in the bucket, the file's end is what goes
    with Probe(place, ended) as probe:
        place.redis.kill()
        place.books.struck("Redis killed, file cut")
        folder = place.folder / "redis-data" / "appendonlydir"
        newest = max(folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        os.truncate(newest, int(newest.stat().st_size * 0.7))
        place.mend()
        place.books.wait(deadline_s=120)
    return f"{probe.verdict()}; the last 30 % of the file went"


@scenario("4e", "Celery's lists and its bindings are deleted from Redis")
def queue_keys(place: Place, size: int) -> None:
    _before(place, size)
    client = place.client()
    for _ in range(3):
        gone = [key for pattern in ("cpu.*", "gpu.*", "_kombu*", "unacked*") for key in client.keys(pattern)]
        client.delete(*gone) if gone else None
        place.books.struck("queue keys deleted")
        time.sleep(1)


@scenario("4f", "Redis is flushed under running workers", short=True)
def flushed(place: Place, size: int) -> str:
    """What was accepted comes back from the bucket; running attempts of before cannot commit over it."""
    ended = _before(place, size)
    erased = place.books.submit(work.noop("cpu"))
    place.books.wait([erased], 60)
    assert place.books.insist("DELETE", f"/v1/jobs/{erased}").status_code in (200, 202, 204)
    del place.books.entries[erased]
    until(lambda: place.books.once("GET", f"/v1/jobs/{erased}")[1] == 410, 30)
    until(lambda: _segmented(place), 30, "all of the journal is in the bucket")
    with Probe(place, ended) as probe:
        place.client().flushall()
        place.books.struck(FLUSHED)
        place.books.wait(deadline_s=120)
    gone = place.books.insist("GET", f"/v1/jobs/{erased}").status_code
    assert gone == 410, f"an erased job is {gone} after the flush"
    return f"{probe.verdict()}; an erased job stays 410"


def _segmented(place: Place) -> bool:
    client = place.client()
    return client.get(keys.SEGMENTED) == client.xinfo_stream(keys.JOURNAL)["last-generated-id"]


@scenario("4g", "a flush with many old jobs in the bucket")
def many_old(place: Place, size: int) -> str:
    """Copies of a real job, written before the S3 server starts again. The journal's segments name a tenth of them, all
    with Idempotency-Keys of today; half of the segments have been shrunk by then."""
    count = 100_000 if size >= 40 else 2_000
    real = place.books.submit(work.files("cpu", "old"), key="of-the-first")
    place.books.wait([real], 60)
    until(lambda: _journaled(place, [real]) and _segmented(place), 60, "its job.json is written")
    entries = [
        entry
        for name in segments.names(place.storage)
        for entry in segments.read(place.storage, name)
        if entry["id"] == real
    ]
    job_json = place.storage.get_bytes(job_json_key("acme", real)).decode()
    place.s3.stop()
    newest, names = _copies(place, count, real, entries, job_json)
    place.s3.start()
    place.mend()
    compactor = Compactor(place.ledger, place.client(), place.storage)
    for name in names[::2]:
        compactor.compact(name)
    place.client().flushall()
    place.books.struck(FLUSHED)
    start = time.monotonic()
    until(lambda: _ready(place), 300, "the keeper has restored")
    took = time.monotonic() - start
    assert place.books.get(newest)["status"] == "succeeded", "an old job is not to be had"
    assert place.books.submit(work.files("cpu", "old"), key="of-the-first") == real, "its key makes another job"
    place.books.wait([place.books.submit(work.noop("cpu"))], 60)
    return f"{count:,} old jobs in the bucket, a tenth in segments; ready again after {took:.1f} s"


def _ready(place: Place) -> bool:
    try:
        return place.client().get(keys.EPOCH) == place.client().info("server")["run_id"]
    except RedisError:
        return False


def _copies(place: Place, count: int, real: str, entries: list[dict], job_json: str) -> tuple[str, list[str]]:
    """Straight into the S3 server's folder; the id of one, and the segments' names, of 1,000 jobs each."""
    folder, names, lines = place.folder / "s3-data" / place.storage.bucket, [], []
    first = sid = int(min(entry["sid"].partition("-")[0] for entry in entries)) - 3_600_000
    for n in range(count):
        job_id = new_id("job")
        path = folder / job_json_key("acme", job_id)
        path.parent.mkdir(parents=True)
        path.write_text(job_json.replace(real, job_id))
        for entry in entries if n % 10 == 0 else ():
            copy = json.loads(json.dumps(entry).replace(real, job_id)) | {"sid": f"{(sid := sid + 1)}-0"}
            lines.append(json.dumps(copy | ({"key": f"bl:idem:acme:{job_id}"} if "key" in copy else {})))
        if (n + 1) % 10_000 == 0 or n + 1 == count:
            names.append(f"{FOLDER}{first}-0-{sid}-0.jsonl")
            (folder / names[-1]).write_text("\n".join(lines))
            first, lines = sid + 1, []
    return job_id, names
