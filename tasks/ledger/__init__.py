"""The ledger: the job records in Redis, and the scripts that alone change them. One method a script, same name.

Every verb may be asked twice: whoever asks picks the id or the token, and a repetition gets the first
answer. It knows nothing of Celery, S3 or HTTP; `keys.py` lists what it keeps.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.epoch import NOT_RECONCILED, Epoch
from tasks.ledger.faults import away as _away
from tasks.ledger.idempotency import Idempotency
from tasks.ledger.lines import Lines
from tasks.ledger.pauses import holds, why_they_wait
from tasks.ledger.shapes import AGAIN, Cause, Claimed, Held, Record, Submitted, Worker
from tasks.settings import Settings

VERBS = ("submit", "claim", "renew", "report", "commit", "fail", "release", "cancel", "sweep", "due", "expire",
         "forget", "conclude", "shrink", "count", "upload", "note_use", "pause", "resume",
         "unpark", "move", "orphan", "begin_restore", "set_epoch", "write", "give_back")
IDEMPOTENCY_MS = 24 * 3600 * 1000
UPLOADING_MS = 120_000
STILL_COMING = "a request with this Idempotency-Key is still being received; ask again in a moment"
A_FEW = 100
"""Jobs one call of sweep, due or expire handles at most, so that none blocks Redis for long."""


def connect(settings: Settings, *, read_timeout_s: float = 0.7, shared: bool = True) -> redis.Redis:
    """A client with short timeouts, set by hand: redis-py's own would hang an API for many seconds. Bytes that are no
    UTF-8 come as U+FFFD, for no reader must fail of what somebody else has written.

    One that is not shared by threads has one connection and no pool, which saves a third of each call.
    """
    return settings.redis().client(
        decode_responses=True, encoding_errors="replace", socket_connect_timeout=0.5, socket_timeout=read_timeout_s,
        retry=Retry(NoBackoff(), 1), health_check_interval=0, single_connection_client=not shared)


class Ledger(Lines, Epoch):
    """The verbs. Errors of every verb: NotReady where Redis is away or the keeper has not set the epoch; LedgerFault
    where its script fails, and would again.

    Without a client given, each thread that asks has a connection of its own, which is cheaper than a pool.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None,
                 clock: Callable[[], int] = lambda: 0, read_timeout_s: float = 0.7) -> None:
        self.settings, self.clock = settings, clock
        self._given, self._mine, self._read_timeout_s = client, threading.local(), read_timeout_s
        unconnected = connect(settings)
        self._scripts = {verb: unconnected.register_script(_script(verb)) for verb in VERBS}

    @property
    def redis(self) -> redis.Redis:
        """This thread's client; connects. Errors: RedisError."""
        if self._given is not None:
            return self._given
        if not hasattr(self._mine, "client"):
            self._mine.client = connect(self.settings, read_timeout_s=self._read_timeout_s, shared=False)
        return self._mine.client

    # -- callers' verbs

    def submit(self, fixed: Fixed, idempotency: Idempotency | None = None, restoring: str = "",
               replaying: bool = False, asking: bool = False) -> Submitted:
        """Record a job. Errors: Overloaded; RateLimited; QuotaExceeded; Conflict where the same key's inputs are still
        coming in.

        `replaying`: only if the job that this one retries is a dead letter yet. Errors then: Replayed.
        `asking`: nothing is recorded or paid, whether it would be is answered all the same.
        `restoring`: the keeper puts an accepted job back, before the epoch is set; its own clock says when it came.
        """
        start = "" if fixed.start_ms is None else fixed.start_ms
        deadline = "" if fixed.deadline_s is None else _ms(fixed.deadline_s)
        answer = self._run(
            "submit",
            [keys.job(fixed.id), keys.line(fixed.line), fixed.queue, keys.tenant_jobs(fixed.tenant),
             keys.idempotency(fixed.tenant, idempotency.digest if idempotency else "-"), keys.rate(fixed.tenant),
             *(keys.upload_jobs(fixed.tenant, upload) for upload in fixed.uploads)],
            [fixed.id, fixed.model_dump_json(exclude_none=True), fixed.tenant, fixed.line, fixed.priority, start,
             _ms(fixed.queue_ttl_s), deadline, _ms(fixed.run_timeout_s), _ms(fixed.retention_s), fixed.max_attempts,
             self.settings.bells, idempotency.fingerprint if idempotency else "", IDEMPOTENCY_MS,
             "ask" if asking else restoring,
             self.settings.submits_per_minute, self.settings.max_waiting_jobs, self.settings.max_stored_bytes,
             fixed.retry_of or "", int(replaying), self.settings.max_record_bytes, fixed.v,
             *(upload.bytes for upload in fixed.uploads.values())])
        match answer:
            case [1, job_id, bell, left, reset_ms]:
                return Submitted(job_id, bool(bell), left=left, reset_s=reset_ms / 1000)
            case [2, job_id, fingerprint]:
                return Submitted(job_id, replay_fingerprint=fingerprint)
            case [3, _]:
                raise errors.Conflict(STILL_COMING)
            case [-3, ms]:
                raise errors.RateLimited(self.settings.submits_per_minute, ms / 1000)
            case [-4, waiting]:
                raise errors.WaitingTooMany(waiting, self.settings.max_waiting_jobs)
            case [-5, stored]:
                raise errors.StoredTooMuch(stored, self.settings.max_stored_bytes)
            case [-7, held, most]:
                raise errors.RecordsTooLarge(held, most)
            case [-6]:
                raise errors.Replayed(f"job {fixed.retry_of} is no dead letter, or has been retried already")
            case [_, percent]:
                raise errors.Overloaded(
                    f"Redis is {percent} % full and takes no new jobs above 85 %; running jobs go on")

    def reserve(self, tenant: str, idempotency: Idempotency, job_id: str) -> Submitted | None:
        """Hold a key while inputs are uploaded: None where it is ours now, else who has it. Errors: Conflict."""
        key = keys.idempotency(tenant, idempotency.digest)
        _, held = self.write(("SET", key, idempotency.held_by(job_id), "NX", "PX", UPLOADING_MS), ("GET", key))
        holder = held.split(" ")
        if len(holder) == 3 and holder[0] != job_id:
            raise errors.Conflict(STILL_COMING)
        return None if holder[0] == job_id else Submitted(holder[0], replay_fingerprint=holder[1])

    def upload(self, tenant: str, upload_id: str, size: int, kept_s: float, a_minute: int = 0) -> None:
        """Note a new upload, which goes after `kept_s` unless a job names it, and charge its `size`, 0 where it is not
        known. `a_minute`: uploads the tenant may begin, 0 for any number. Errors: UploadsLimited, StoredTooMuch."""
        most = self.settings.max_stored_bytes
        match self._run("upload", [keys.UPLOADS, keys.upload_rate(tenant)],
                        [tenant, upload_id, size, _ms(kept_s), a_minute, most]):
            case [-3, ms]:
                raise errors.UploadsLimited(a_minute, ms / 1000)
            case [-5, stored]:
                raise errors.StoredTooMuch(stored, most, size)

    def cancel(self, tenant: str, job_id: str) -> str:
        """The status after asking. Errors: NotFound; Conflict where the job had ended otherwise."""
        match self._run("cancel", [keys.job(job_id)], [job_id, tenant]):
            case [1, status]:
                return status
            case [0, status]:
                raise errors.Conflict(f"job {job_id} has already {status}")
        raise errors.NotFound(f"there is no job {job_id}")

    def forget(self, fixed: Fixed) -> None:
        """Erase an ended job; its objects follow. Errors: NotFound; Conflict where it has not ended."""
        uploads = [keys.upload_jobs(fixed.tenant, upload) for upload in fixed.uploads]
        match self._run("forget", [keys.job(fixed.id), keys.tenant_jobs(fixed.tenant), *uploads],
                        [fixed.id, fixed.tenant]):
            case 0:
                raise errors.NotFound(f"there is no job {fixed.id}")
            case 2:
                raise errors.Conflict(f"job {fixed.id} has not ended; cancel it first")

    def note_use(self, key_id: str) -> None:
        """An API key was used just now."""
        self._run("note_use", [keys.KEY_USES], [key_id])

    # -- workers' verbs

    def claim(self, worker: Worker, slot: str, token: str, linger_s: float = 0) -> Claimed | None:
        """The next job of this worker's lines. Tokens of one slot must ascend. With `linger_s` the slot is noted as
        one to wake where there is nothing: read keys.wake(slot) for so long."""
        named = [keys.slots(worker.id), keys.worker(worker.id), keys.leases(worker.pool),
                 *map(keys.line, worker.lines), *map(keys.idle, worker.queues)]
        asked = [worker.id, slot, token, _ms(self.settings.lease_s), _ms(linger_s), len(worker.lines),
                 self.settings.max_running_jobs, int(worker.shared), worker.v,
                 *(worker.most or [0] * len(worker.lines))]
        while (answer := self._run("claim", named, asked))[0] == AGAIN:
            pass  # so many jobs of tenants that may not run stood before all others
        return _claimed(token, answer)

    def commit_and_claim(self, job_id: str, token: str, result: dict, outputs: Sequence[dict], metrics: dict,
                         number: int, worker: Worker, slot: str, next_token: str) -> tuple[str, Claimed | None]:
        """`commit`, then `claim`. Not in one pipeline: where Redis lacks commit's script alone, the claim would be
        first, and a slot's claim hands its old job back."""
        committed = self.commit(job_id, token, result, outputs, metrics, number)
        return committed, self.claim(worker, slot, next_token)

    def renew(self, worker: Worker, draining: bool = False, about: Record | None = None) -> tuple[float, list[Held]]:
        """Extend all leases of the worker; Redis' time in ms, and its slots. `about` is shown in /v1/pools."""
        told = {"pool": worker.pool, "queues": ",".join(worker.queues), "lines": ",".join(worker.lines),
                **(about or {})}
        now, *rows = self._run(
            "renew", [keys.slots(worker.id), keys.worker(worker.id), keys.leases(worker.pool), keys.WORKERS],
            [worker.id, _ms(self.settings.lease_s), int(draining), *(part for pair in told.items() for part in pair)])
        return float(now), [_held(row) for row in rows]

    def forget_slot(self, worker: Worker, slot: str) -> None:
        """The slot's process is gone and all it held is ended."""
        self.write(("HDEL", keys.slots(worker.id), slot))

    def report(self, job_id: str, token: str, phase: str = "", progress: float | None = None,
               message: str | None = None, checkpoint: str = "") -> str:
        """Tell people, and where the attempt's newest checkpoint lies; 'noted', 'canceling' or 'lost'. An empty
        message takes the last one away."""
        answer = self._run("report", [keys.job(job_id)], [
            job_id, token, phase, "" if progress is None else f"{progress:.4f}",
            "" if message is None else f"={message}", checkpoint])
        return {0: "lost", 1: "noted", 2: "canceling"}[answer]

    def commit(self, job_id: str, token: str, result: dict, outputs: Sequence[dict], metrics: dict,
               number: int = 0) -> str:
        """'succeeded', or how this token's attempt had ended before. `number`: its own, so that what a lost one has
        uploaded goes."""
        return self._run("commit", [keys.job(job_id)], [
            job_id, token, json.dumps(result), json.dumps(list(outputs)), json.dumps(metrics),
            sum(output["bytes"] for output in outputs), number])

    def fail(self, job_id: str, token: str, error: errors.BacklotError, delay_s: float = 0,
             metrics: dict | None = None, number: int = 0, killed: bool = False) -> str:
        """'queued' for a retry after the delay, 'failed', 'canceled', or as `commit` says. `killed`: the process was
        ended for this attempt, which its tenant is charged with."""
        return self._run("fail", [keys.job(job_id)], [
            job_id, token, json.dumps(error.as_dict()), int(error.retryable), _ms(delay_s),
            json.dumps(metrics) if metrics else "", number, int(killed)])

    def release(self, job_id: str, token: str, cause: Cause = "own") -> str:
        """'released', 'canceled' where it was canceling, or how this token's attempt had ended before. After ten for
        the job's own cause 'queued' or 'failed'; a drain or a neighbour's fault never counts."""
        return self._run("release", [keys.job(job_id)], [job_id, token, cause])

    # -- the keeper's verbs

    def sweep(self, pool: str) -> list[str]:
        """Take lapsed attempts back; the queues that want a doorbell."""
        lost = errors.WorkerLost(f"the worker did not renew its lease of {self.settings.lease_s:g} s")
        return self._run("sweep", [keys.leases(pool), keys.swept(pool)], [
            _ms(self.settings.lease_s), _ms(self.settings.renew_s), A_FEW, json.dumps(lost.as_dict())])[1:]

    def due(self) -> list[str]:
        """Start times and retries that have come; the queues that want a doorbell."""
        return self._run("due", [keys.DUE], [A_FEW])[1:]

    def expire(self, error: errors.BacklotError) -> list[str]:
        """End jobs whose clock ran out while they waited; their ids. `error` is for those that ran before."""
        return self._run("expire", [keys.EXPIRIES], [A_FEW, json.dumps(error.as_dict())])[1:]

    def conclude(self, job_id: str, ended: Record, restoring: str = "") -> bool:
        """While restoring: give a job that this Redis takes for living its end; False where there is none such."""
        fields = [part for pair in ended.items() for part in pair]
        return bool(self._run("conclude", [keys.job(job_id)], [job_id, restoring, *fields]))

    def shrink(self, job_id: str, small: Fixed | None, fields: Iterable[str]) -> None:
        """Leave large fields out of an ended job's record, whose job.json is written, and put `small` in place of what
        never changes."""
        self._run("shrink", [keys.job(job_id), keys.WHOLE],
                  [job_id, small.model_dump_json(exclude_none=True) if small else "", *fields])

    def count(self, tenant: str, name: str, size: int, what: str = keys.STORED) -> int:
        """The bytes of a job or an upload in the bucket, or of a record (keys.HELD), 0 where it is gone; how many the
        tenant has in all."""
        return int(self._run("count", [what], [tenant, name, size]))

    # -- looking

    def record(self, job_id: str) -> Record | None:
        """The record as it is."""
        with _away():
            return self.redis.hgetall(keys.job(job_id)) or None

    def tenant_of(self, job_id: str) -> str | None:
        """Whose job it is; None where there is none."""
        with _away():
            return self.redis.hget(keys.job(job_id), "tenant")

    def waits(self, worker: Worker) -> bool:
        """Whether any job waits in the worker's lines for a slot alone."""
        with _away():
            pauses = self.redis.hkeys(keys.PAUSES)
            return any(self.redis.zcard(keys.line(line)) for line in worker.lines if not holds(line, pauses))

    def bells(self, worker: Worker) -> int:
        """Doorbells that lie in the queues of a worker."""
        with _away():
            return sum(self.redis.llen(queue) for queue in worker.queues)

    def position(self, record: Record) -> int | None:
        """The exact place in its line, 1 is next; None where it does not wait there."""
        if record["status"] != "queued":
            return None
        with _away():
            rank = self.redis.zrank(keys.line(record["line"]), json.loads(record["fixed"])["id"])
        return None if rank is None else rank + 1

    def why_they_wait(self, records: Iterable[Record]) -> list[str]:
        """Of each record a sentence for its caller, if it waits for more than a slot; or ''."""
        with _away():
            return why_they_wait(self.redis, records)

    def pools(self, configured: Iterable[str]) -> list[str]:
        """These, and all others that ever held a job."""
        with _away():
            return list(dict.fromkeys([*configured, *sorted(self.redis.hkeys(keys.POOLS))]))

    def _run(self, verb: str, named: list, arguments: list):
        with _away(verb):
            return _if_ready(self._scripts[verb](keys=named, args=[self.clock(), *arguments], client=self.redis))


def _if_ready(answer):
    if answer in (-1, "not ready") or (isinstance(answer, list) and answer[:1] == [-1]):
        raise errors.NotReady(NOT_RECONCILED)
    return answer


def _claimed(token: str, answer: list) -> Claimed | None:
    if answer[0] == 0:
        return None
    record = dict(zip(answer[2::2], answer[3::2], strict=True))
    return Claimed(Fixed.model_validate_json(record["fixed"]), token, int(record["starts"]), record)


def _held(row: list) -> Held:
    if len(row) == 4:
        return Held(*row)
    slot, token, job_id, state, phase, *numbers, deadline, line = row
    return Held(slot, token, job_id, state, phase, *map(float, numbers), float(deadline) if deadline else None, line)


def _script(verb: str) -> str:
    """The whole text that Redis gets."""
    of_its_own = {"claim": ["_closed", "_next"], "submit": ["_quotas"], "upload": ["_quotas"]}.get(verb, [])
    return "".join(map(_lua, ["_reading", "_common", "_parking", "_aside", *of_its_own, verb]))


def _lua(name: str) -> str:
    return files("tasks.ledger").joinpath("scripts", f"{name}.lua").read_text() + "\n"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
