"""Every key Backlot keeps in Redis: its type, members and lifetime. The scripts build the same names.

Beside these, Celery keeps its own (the lists named by queue, `_kombu...`); nobody else writes those.
"""

EPOCH = "bl:epoch"  # string  the server's run_id that the keeper has reconciled with; no expiry
EPOCH_REPLID = "bl:epoch:replid"  # string  '<run_id> <master_replid>'; a keeper of the release before does not set it
EVENTS = "bl:events"  # stream  id, status, tenant of every change of status; capped at about 10,000
FAULTS = "bl:faults"  # stream  verb, id, words of jobs that were set aside; capped at about 1,000
JOURNAL = "bl:journal"  # stream  type accepted | ended, with the record; trimmed once it is in the bucket
SEGMENTED = "bl:journal:segmented"  # string  stream id of the last entry that is in a segment
WRITTEN = "bl:journal:written"  # string  stream id of the last ended entry whose job.json is written
RESTORING = "bl:restoring"  # string  a keeper puts back what this Redis lost; seconds, prolonged
STOCK = "bl:stock"  # string  the ms since when Redis has lost something: the bucket is to be looked through
STOCK_TAKEN = "bl:stock:taken"  # string  the ms at which the bucket was last looked through
WHOLE = "bl:whole"  # zset    id of an ended job whose record has not shrunk, by the ms of its end
STORED = "bl:stored"  # hash    tenant -> bytes of its outputs and uploads in the bucket
HELD = "bl:held"  # hash    tenant -> bytes that the records of its jobs take, each until it has shrunk
ARCHIVED = "bl:archived"  # zset    <tenant>/<job id> that only the bucket knows by the ms at which its retention ends
TOMBSTONES = "bl:tombstones"  # zset  <tenant>/<job id> of a tombstone by the ms at which it goes
LINES = "bl:lines"  # set     <queue>:<model> of every line that ever held a job
POOLS = "bl:pools"  # hash    every pool that ever held a job -> 1
PAUSES = "bl:pauses"  # hash    <scope>/<name> of what is paused -> JSON, why and since when
ORPHANS = "bl:orphans"  # hash    <queue>:<model> that waits and nobody knows -> ms since when
PARKED = "bl:parked"  # set     tenants with jobs that stand in no line, as they may not start now
DUE = "bl:due"  # zset    job id by the ms at which it is due: start_at, or a retry
EXPIRIES = "bl:expiries"  # zset    job id by the ms at which a clock runs out: queue_ttl, deadline
RETAINED = "bl:retained"  # zset    id of an ended job by the ms at which it is to be forgotten
TRASH = "bl:trash"  # zset    prefix in the bucket by the ms from which it may be deleted
UPLOADS = "bl:uploads"  # zset    <tenant>/<upload id> by the ms at which to ask whether a job still names it
KEEPERS = "bl:keepers"  # hash    keeper -> JSON of how its duties stand (keepers.py); a day after the last word
ERASING = "bl:erasing"  # string  bl:erasing:<tenant>: a keeper erases the tenant; seconds
KEY_USES = "bl:keys:used"  # hash    id of an API key -> ms of its last use, to a minute
WORKERS = "bl:workers"  # zset    worker id by the ms at which it counts as gone


def job(job_id: str) -> str:
    """hash: the record; until it is forgotten. Fields: tasks/job.py and the scripts."""
    return f"bl:job:{job_id}"


def making(tenant: str, kind: str, name: str) -> str:
    """string: somebody makes this artefact now; for seconds, prolonged while it is made."""
    return f"bl:making:{tenant}:{kind}:{name}"


def line(name: str) -> str:
    """zset: job id by score (fair tag less ten places a point of priority); `name` is <queue>:<model>."""
    return f"bl:line:{name}"


def leases(pool: str) -> str:
    """zset: id of a running job by the ms at which its lease lapses."""
    return f"bl:leases:{pool}"


def waiting(pool: str) -> str:
    """zset: id of a waiting job by the ms since which it waits."""
    return f"bl:waiting:{pool}"


def fair(pool: str) -> str:
    """hash: `clock`, the pool's virtual clock, and for each tenant with jobs waiting `tag:<t>` and `jobs:<t>`."""
    return f"bl:fair:{pool}"


def swept(pool: str) -> str:
    """hash: `at`, when the sweep last ran, and `hold`, the ms before which it takes nothing."""
    return f"bl:swept:{pool}"


def idle(queue: str) -> str:
    """zset: a lingering slot that serves the queue, by the ms until which it lingers."""
    return f"bl:idle:{queue}"


def wake(who: str) -> str:
    """list: a word that wakes a lingering slot, or a worker's parent; seconds."""
    return f"bl:wake:{who}"


def worker(worker_id: str) -> str:
    """hash: pool, queues, slots, host, draining; an hour after its last renewal."""
    return f"bl:worker:{worker_id}"


def slots(worker_id: str) -> str:
    """hash: slot -> '<token> <job id>' of its newest claim; an hour after the worker's last renewal."""
    return f"bl:slots:{worker_id}"


def running(tenant: str) -> str:
    """set: ids of the tenant's running jobs; of a worker of an older release, some that have ended."""
    return f"bl:running:{tenant}"


def later(tenant: str) -> str:
    """set: ids of the tenant's jobs that wait for a start time or a retry."""
    return f"bl:later:{tenant}"


def parked(tenant: str, line: str = "") -> str:
    """zset: a parked job of the line by its score in it. Without a line a hash: see _parking.lua."""
    return f"bl:parked:{tenant}:{line}" if line else f"bl:parked:{tenant}"


def cost(pool: str, tenant: str) -> str:
    """list: ms at which the tenant's jobs ended a process of the pool, the last three; ten minutes."""
    return f"bl:cost:{pool}:{tenant}"


def alone(pool: str, tenant: str) -> str:
    """string: the ms until which the tenant's jobs run alone in their process, having cost the pool too many."""
    return f"bl:alone:{pool}:{tenant}"


def tenant_jobs(tenant: str) -> str:
    """zset: the tenant's job ids by the ms of their creation."""
    return f"bl:jobs:{tenant}"


def dead(tenant: str) -> str:
    """zset: ids of the tenant's dead letters by the ms of their end, until they are retried or forgotten."""
    return f"bl:dead:{tenant}"


def stored(tenant: str) -> str:
    """hash: id of a job or an upload -> bytes that it has in the bucket, until they are deleted."""
    return f"bl:stored:{tenant}"


def held(tenant: str) -> str:
    """hash: job id -> bytes that its record takes, until it has shrunk or is forgotten."""
    return f"bl:held:{tenant}"


def replay(tenant: str, digest: str) -> str:
    """string: what a call with an Idempotency-Key replays, JSON: each dead letter's id and the new job's; 24 h."""
    return f"bl:replay:{tenant}:{digest}"


def rate(tenant: str) -> str:
    """string: the ms until which the tenant's submits are paid for; a minute."""
    return f"bl:rate:{tenant}"


def upload_rate(tenant: str) -> str:
    """string: the same of the uploads that it begins."""
    return f"bl:rate:uploads:{tenant}"


def upload_jobs(tenant: str, upload_id: str) -> str:
    """set: ids of the jobs that name the upload, until they are forgotten."""
    return f"bl:upload:{tenant}/{upload_id}"


def idempotency(tenant: str, digest: str) -> str:
    """string: '<job id> <fingerprint>', 24 h; with ' uploading' behind, two minutes, while its inputs come in."""
    return f"bl:idem:{tenant}:{digest}"


def of_tenant(tenant: str) -> list[str]:
    """Patterns of all that is kept under a tenant's name, but its jobs: what goes when the tenant is erased."""
    return [
        dead(tenant),
        stored(tenant),
        held(tenant),
        rate(tenant),
        upload_rate(tenant),
        replay(tenant, "*"),
        idempotency(tenant, "*"),
        upload_jobs(tenant, "*"),
        making(tenant, "*", "*"),
        cost("*", tenant),
        alone("*", tenant),
    ]
