"""12. The soak: jobs of all kinds under faults drawn at random, by a seed that is printed.

Only a fault that hits a process with a running attempt, or that everybody feels (a server away, connections cut),
counts. Extra starts of jobs that ran in the same process as the one that was killed are counted apart ('beside').
"""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from redis.exceptions import RedisError

from tasks.ledger import keys
from tests.faults import work
from tests.faults.accounts import FLUSHED
from tests.faults.place import Place
from tests.faults.scenario import Row
from tests.stack import until

ROOT = Path(__file__).parent.parent.parent / "tasks"
FLUSH_IF_SAFE = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and last[1] ~= redis.call('GET', KEYS[2]) then return 0 end
redis.call('FLUSHALL')
return 1"""
AT_ONCE = 60
"""Jobs that wait or run while faults strike."""
WEBHOOK_EVERY = 5
"""One job in so many has a webhook."""
BATCH_EVERY, LINES = 100, 12
"""One submit in so many is a batch of so many jobs."""
SAME_EVERY, SAME = 15, 5
"""One job in so many asks for work that may be done already; there are so many sorts of it, each anew for 300 jobs."""
CHAIN_EVERY = 10
"""One job in so many takes the text of an earlier one, which has ended, runs or waits."""


class Soak:
    """`run()` returns the row; `struck` counts by sort of fault how many hit something."""

    def __init__(self, place: Place, seed: int, jobs: int, faults: int, say: Callable[[str], None] = print) -> None:
        self.place, self.jobs, self.faults, self.say = place, jobs, faults, say
        self.random = random.Random(seed)
        self.struck: Counter[str] = Counter()
        self.idle = 0
        self._submitted, self._over = 0, threading.Event()
        self.chains, self.same, self._texts = 0, 0, list[str]()
        self._beside: set[str] = set()
        self._inputs = _inputs()
        self._flush_if_safe = place.client().register_script(FLUSH_IF_SAFE)

    def run(self) -> Row:
        place, start = self.place, time.monotonic()
        row = Row("12", f"random soak: {self.jobs:,} jobs of all kinds")
        submitting = threading.Thread(target=self._submit, daemon=True)
        submitting.start()
        for strike in self._plan():
            until(lambda: self._is_due() or not submitting.is_alive(), 600, "more jobs are accepted")
            if not submitting.is_alive():
                break
            strike()
        self.say(f"faults: {self._told()}; {self.idle} more hit nothing")
        submitting.join(3600)
        if self._submitted < self.jobs:
            row.failed = f"only {self._submitted} of {self.jobs} jobs could be submitted"
        place.mend()
        place.books.wait(deadline_s=600)
        self._tidy()
        row.account = place.books.account(place.committed)
        row.account.faults = sum(self.struck.values())
        row.account.beside = self._starts_beside()
        row.account.extra_starts -= row.account.beside
        row.account.webhooks = len(place.receiver.got)
        row.account.lost += place.books.untold(place.receiver.got) + place.receiver.wrong + place.books.miscounted()
        left = self.orphans()
        row.failed = row.failed or (f"left behind: {left}"[:500] if left else "")
        row.remark = (
            f"{self._told()}; {self.idle} more hit nothing; {row.account.webhooks} webhooks told; "
            f"{len(place.books.batches)} batches; {self.chains} jobs that take another's text, "
            f"{self.same} that may take another's work; "
            f"extra starts {row.account.extra_starts / max(1, row.account.jobs):.1%}, "
            f"{row.account.beside} more beside a killed job"
        )
        for line in row.account.slowest:
            self.say(line)
        row.took_s = time.monotonic() - start
        return row

    def _told(self) -> str:
        return ", ".join(f"{sort} {count}" for sort, count in self.struck.most_common())

    def _is_due(self) -> bool:
        """The faults are spread over the jobs."""
        return sum(self.struck.values()) * self.jobs <= self._submitted * self.faults

    # -- jobs

    def _submit(self) -> None:
        """As many at a time as keep the workers busy; ends once all are accepted and the faults have struck."""
        books = self.place.books
        while self._submitted < self.jobs or sum(self.struck.values()) < self.faults:
            books.wait(deadline_s=0.01)
            open_ = sum(not entry.first for entry in list(books.entries.values()))
            for _ in range(max(0, AT_ONCE - open_)):
                if self._submitted % BATCH_EVERY == BATCH_EVERY // 2:
                    self._batch()
                self._one(self._submitted)
                self._submitted += 1

    def _one(self, n: int) -> None:
        """Mostly short; a part runs for a second or two, so that faults find them running."""
        draw = self.random.random()
        if draw < 0.08:
            request = self._inputs[n % len(self._inputs)]
            if "kind" in request:
                self.place.books.submit({**request, "max_attempts": 10})
            else:
                self._form(**request)
        else:
            pool = ("cpu", "gpu")[n % 2]
            body = (
                work.sleep(pool, self.random.uniform(0.05, 1.0), max_attempts=10)
                if draw < 0.5
                else work.files(pool, f"text {n}", max_attempts=10)
                if draw < 0.9
                else work.noop(pool, max_attempts=10)
            )
            if n % SAME_EVERY == 2:
                body = work.files(pool, f"the same {n % SAME} of {n // 300}", max_attempts=10, cache=True)
                self.same += 1
            if n % CHAIN_EVERY == 1 and self._texts:
                source = self.random.choice(self._texts[-AT_ONCE:])
                body = work.files(pool, "", max_attempts=10) | {"input": {"prompt": {"url": f"job:{source}"}}}
                self.chains += 1
            if n % WEBHOOK_EVERY == 0:
                body["webhook"] = {"url": self.place.receiver.url}
            self._texts.append(self.place.books.submit(body))

    def _batch(self) -> None:
        bodies = [work.files(("cpu", "gpu")[n % 2], f"line {n}", max_attempts=10) for n in range(LINES)]
        self.place.books.submit_batch(bodies)

    def _form(self, of: str, files: dict[str, Path], **fields: str) -> None:
        """As a form, with files."""
        key = f"soak-{self.random.getrandbits(64):x}"
        parts = {name: (path.name, path.read_bytes()) for name, path in files.items()}
        answer = self.place.books.insist(
            "POST",
            "/v1/jobs",
            files=parts,
            headers={"Idempotency-Key": key},
            data={"kind": of, "max_attempts": "10", **fields},
        )
        assert answer.status_code == 202, answer.text
        self.place.books.note(answer.json())

    # -- faults

    def _plan(self):
        """Endless: a fault, then some time for the work to go on."""
        sorts = [
            self._child,
            self._child,
            self._child,
            self._gpu,
            self._celery,
            self._parent,
            self._stop_worker,
            self._cut,
            self._cut,
            self._lose,
            self._lose,
            self._lose,
            self._s3_errors,
            self._s3_away,
            self._redis,
            self._bells,
            self._scripts,
            self._keeper,
            self._term,
            self._api,
            self._flush,
        ]
        for _ in itertools.count():
            yield self.random.choice(sorts)
            yield lambda: time.sleep(self.random.uniform(0.2, 1.0))

    def _hit(self, sort: str, hit: list[str] | None = None) -> None:
        """None: everybody feels it."""
        if hit is not None and not hit:
            self.idle += 1
            return
        self.struck[sort] += 1
        if hit is None:
            self.place.books.struck(sort)
        self._beside |= set((hit or [])[1:])
        done = sum(self.struck.values())
        if done % 10 == 0:
            self.say(f"{done} faults, {len(self.place.books.entries):,} jobs accepted")

    def _some(self, pool: str) -> str:
        return self.random.choice(self.place.workers(pool))

    def _child(self) -> None:
        name = self._some("cpu")
        children = self.place.children(name)
        if children:
            self._hit("child killed", self.place.kill(self.random.choice(children).pid, "child killed"))

    def _gpu(self) -> None:
        self._hit("gpu process killed", self.place.kill_shared(self._some("gpu"), "gpu process killed"))

    def _celery(self) -> None:
        name = self._some("cpu")
        hit = self.place.held(name=name)
        self._hit("Celery killed", self.place.kill(self.place.celery(name).pid, "Celery killed", hit))

    def _parent(self) -> None:
        name = self._some(self.random.choice(("cpu", "gpu")))
        self._hit("parent killed", self.place.kill_worker(name, "parent killed"))
        self.place.mend()

    def _term(self) -> None:
        name = self._some(self.random.choice(("cpu", "gpu")))
        hit = self.place.held(name=name)
        self.place.books.struck("SIGTERM")
        self.place.processes[name].stop(grace_s=60)
        self._hit("SIGTERM", hit)
        self.place.mend()

    def _stop_worker(self) -> None:
        name = self._some(self.random.choice(("cpu", "gpu")))
        hit, parent = self.place.held(name=name), psutil.Process(self.place.processes[name].pid)
        family = [parent, *parent.children(recursive=True)]
        self.place.books.struck("SIGSTOP")
        for process in family:
            process.suspend()
        time.sleep(self.place.settings.lease_s + 2)
        for process in reversed(family):
            if process.is_running():
                process.resume()
        self._hit("SIGSTOP past the lease", hit)

    def _cut(self) -> None:
        self.place.redis_gate.cut()
        self._hit("connections cut")

    def _lose(self) -> None:
        self.place.redis_gate.lose_reply()
        self._hit("reply lost")

    def _s3_errors(self) -> None:
        self.place.s3_gate.fail_every(3)
        time.sleep(2)
        self.place.s3_gate.fail_every(0)
        self._hit("one S3 request in three refused")

    def _s3_away(self) -> None:
        self.place.s3_gate.close_for(4)
        time.sleep(4)
        self._hit("S3 away")

    def _redis(self) -> None:
        self.place.redis.kill()
        time.sleep(1)
        self.place.mend()
        self._hit("Redis killed")

    def _flush(self) -> None:
        """At a moment when the journal is in the bucket, or what came in the last second would be lost, as the README
        says."""
        try:
            until(lambda: self._flush_if_safe(keys=[keys.JOURNAL, keys.SEGMENTED], client=self.place.client()), 10)
        except (AssertionError, RedisError):
            self.idle += 1
            return
        self.place.mend()
        self._hit(FLUSHED)

    def _bells(self) -> None:
        client = self.place.client()
        for queue in ("cpu.generate", "gpu.generate", "cpu.recommend", "cpu.transcribe", "gpu.caption"):
            client.delete(queue)
        client.rpush("cpu.generate", "no json")
        self._hit("bells deleted, garbage pushed")

    def _scripts(self) -> None:
        self.place.client().script_flush()
        self.place.client().function_flush()
        self._hit("scripts flushed")

    def _keeper(self) -> None:
        self.place.processes["keeper"].kill()
        time.sleep(1)
        self.place.mend()
        self._hit("keeper killed")

    def _api(self) -> None:
        self.place.processes["api"].kill()
        self.place.mend()
        self._hit("API killed")

    # -- what is left at the end

    def _tidy(self) -> None:
        with contextlib.suppress(AssertionError):  # the account names those that were not
            until(lambda: not self.place.books.untold(self.place.receiver.got), 120)
        until(lambda: self.place.client().xlen(keys.JOURNAL) == 0, 300, "each ended job has its job.json")
        until(lambda: not self.place.client().exists(keys.STOCK), 300, "the bucket was looked through after the flush")
        self.place.sweep_trash()

    def _starts_beside(self) -> int:
        books = self.place.books
        return sum(
            max(0, len(books.entries[one].first["attempts"]) - 1)
            for one in self._beside
            if one in books.entries and books.entries[one].first
        )

    def orphans(self) -> list[str]:
        """Keys of Redis and objects of the bucket that belong to nothing."""
        place, found = self.place, []
        client, known = place.client(), set(place.books.entries)
        for key in client.scan_iter("bl:*", count=1000):
            if key.startswith(("bl:job:",)) and key.removeprefix("bl:job:") not in known and known:
                found.append(key)
            if key.startswith((*keys.OWED.values(), keys.UNDELIVERED)):
                found.append(key)
            if key.startswith(("bl:line:", "bl:leases:")):
                found.append(f"{key} holds {client.zcard(key)}")
            if key in (keys.DUE, keys.EXPIRIES):
                found.append(f"{key} holds {client.zcard(key)}")
        for seen in place.storage.list("tenants/acme/jobs/"):
            job_id, _, rest = seen.key.removeprefix("tenants/acme/jobs/").partition("/")
            entry = place.books.entries.get(job_id)
            if entry is None or not entry.first:
                found.append(seen.key)
            elif rest != "job.json":
                names = {output["name"] for output in entry.first["outputs"]}
                if rest.partition("/")[2] not in names:
                    found.append(seen.key)
        return found


def _inputs() -> list[dict]:
    """Small real inputs, one request a kind: a form where there is a file."""
    samples = {kind: ROOT / kind / "samples" for kind in ("recommend", "caption", "transcribe")}
    return [
        {"files": {"catalogue": samples["recommend"] / "films.csv"}, "of": "recommend", "history": '["Alien"]'},
        {"files": {"image": samples["caption"] / "scene-20001.png"}, "of": "caption"},
        {"files": {"audio": samples["transcribe"] / "jfk_1961.opus"}, "of": "transcribe"},
        {"kind": "generate", "model": "lstm", "input": {"prompt": "It was"}, "params": {"max_tokens": 8}},
    ]
