"""Every key Backlot keeps in Redis: its type, what it holds, who writes it and when it goes. It asks nothing of Redis.

The Lua scripts build the same names (tests/test_boundaries.py compares them). 'The scripts' are tasks/ledger/scripts;
'ms' is a time in ms since 1970; a key without a lifetime stays. Celery's own keys, the lists named by queue and
`_kombu...`, lie beside these, and Celery alone writes them.
"""

from tasks.ledger.batch_keys import batch as batch
from tasks.ledger.batch_keys import batch_lines as batch_lines
from tasks.ledger.batch_keys import batch_refusals as batch_refusals
from tasks.ledger.batch_keys import receiving as receiving
from tasks.ledger.batch_keys import tenant_batches as tenant_batches
from tasks.ledger.same_keys import cached as cached
from tasks.ledger.same_keys import cited as cited
from tasks.ledger.same_keys import citing as citing
from tasks.ledger.same_keys import same as same

# -- the server and its restore

EPOCH = "bl:epoch"
"""string: run_id of the server that the keeper has reconciled with. set_epoch writes it, begin_restore deletes it."""
EPOCH_REPLID = "bl:epoch:replid"
"""string: '<run_id> <master_replid>' of that server. Written and deleted with the epoch, by this release's keepers."""
RESTORING = "bl:restoring"
"""string: the token of the keeper that restores. Written by begin_restore; 30 s, renewed, deleted by set_epoch."""
STOCK = "bl:stock"
"""string: the ms at which Redis was found to have lost something: the bucket is to be reconciled. The keeper's."""
STOCK_TAKEN = "bl:stock:taken"
"""string: the ms at which the keeper last reconciled the bucket. The keeper's."""

# -- streams

EVENTS = "bl:events"
"""stream: id, status, tenant, line and batch of each change of status. Written by the scripts; about the last 300,000
entries. The keeper trims it to 15 minutes."""
CHANGES = "bl:changes"
"""stream: id of a job whose phase, progress, message or text has changed. Written by report; about the last 1,000."""
FAULTS = "bl:faults"
"""stream: verb, id and words of each job that a script set aside. Written by the scripts; about the last 1,000."""
JOURNAL = "bl:journal"
"""stream: type accepted | amended | ended | ... (entries.py), with the record. Written by the scripts; the keeper
trims what is in the bucket."""
SEGMENTED = "bl:journal:segmented"
"""string: stream id of the last journal entry that is in a segment in the bucket. The keeper's."""
WRITTEN = "bl:journal:written"
"""string: stream id of the last ended entry whose job.json is in the bucket. The keeper's."""

# -- indexes of jobs

DUE = "bl:due"
"""zset: job id by the ms of its start time or retry. Written by submit and fail; due and an end remove it."""
EXPIRIES = "bl:expiries"
"""zset: job id by the ms at which its queue_ttl or deadline runs out. By submit and claim; an end removes it."""
WHOLE = "bl:whole"
"""zset: id of an ended job whose record is not compacted yet, by the ms of its end. shrink removes it."""
RETAINED = "bl:retained"
"""zset: id of an ended job by the ms at which it is forgotten. Written at an end; forget removes it."""

BATCHES = "bl:batches"
"""zset: <tenant>/<batch id> by the ms at which the keeper looks at it. Written by open_batch and note_batch."""

SCHEDULES = "bl:schedules"
"""zset: <tenant>/<schedule id> by the ms at which the keeper looks at it. Written by put_schedule."""

# -- lines and pools

LINES = "bl:lines"
"""set: <queue>:<model> of every line that ever held a job, @<v> for a newer form. Written by submit, claim, move."""
POOLS = "bl:pools"
"""hash: every pool that ever held a job -> 1. Written by submit, move and the keeper."""
PAUSES = "bl:pauses"
"""hash: <scope>/<name> of each pause -> JSON of since_ms and reason. Written by pause, removed by resume."""
ROOM = "bl:room"
"""string: Redis' maxmemory while its memory is far from full, 5 s. Written by sweep; submit then asks no INFO."""
ORPHANS = "bl:orphans"
"""hash: <queue>:<model> of a line whose model no worker knows -> ms since when. Written and removed by orphan."""
PARKED = "bl:parked"
"""set: tenants with parked jobs. Written by claim; removed with the tenant's last parked job."""
DURATIONS = "bl:durations"
"""hash: <queue>:<model> -> JSON of measured durations of its jobs (tasks/durations.py). The keeper's."""

SETTLING = "bl:settling"
"""zset: <tenant>/<job id> of an ended job that others wait for, by the ms when they are told. By ends and submit."""

# -- the bucket

STORED = "bl:stored"
"""hash: tenant -> bytes of its outputs and uploads in the bucket. Written by submit, upload, commit and count."""
HELD = "bl:held"
"""hash: tenant -> bytes of its jobs' records in Redis. Written by submit, commit, conclude, shrink, forget, count."""
TRASH = "bl:trash"
"""zset: prefix in the bucket by the ms from which it may be deleted. Written by the scripts; the keeper removes it."""
UPLOADS = "bl:uploads"
"""zset: <tenant>/<upload id> by the ms at which the keeper asks whether a job names it. Written by upload."""
ARCHIVED = "bl:archived"
"""zset: <tenant>/<job id> of a job that only the bucket knows, by the ms at which its retention ends. The keeper's."""
HANDING = "bl:handing"
"""zset: <tenant>:<digest> of work whose leader has ended with followers left, by ms. Written by the ends and cite;
hand_on removes them."""
TOMBSTONES = "bl:tombstones"
"""zset: <tenant>/<job id> of a tombstone by the ms at which it is deleted. The keeper's."""
ERASING = "bl:erasing"
"""string: bl:erasing:<tenant>, the lock of the keeper that erases the tenant. Lapses within seconds."""

# -- webhooks and deliveries

OWED = {"webhook": "bl:webhooks", "delivery": "bl:deliveries"}
"""zset: tenant by the ms of the earliest try of a webhook, or a delivery, that it is owed. Written by the scripts."""
PASSING = "bl:passing"
"""set: tenants with messages of started or progress. Written by claim and report; the keeper removes them."""
UNDELIVERED = "bl:undelivered"
"""hash: tenant -> number of the webhooks and deliveries that it is owed. Written by the scripts."""

# -- usage

USAGE = "bl:usage"
"""hash: <tenant>:<month> of each month with counters -> the cursor of its last change. Written by count_usage; the
keeper removes what is no longer kept."""
USAGE_COUNTED = "bl:usage:counted"
"""string: stream id of the last journal entry whose end is counted. Written by count_usage and a restore."""
USAGE_COPIED = "bl:usage:copied"
"""hash: <tenant>:<month> -> the cursor of its copy in the bucket; `all`: that up to which all are copied. The
keeper's."""

# -- workers, keepers, API keys

WORKERS = "bl:workers"
"""zset: worker id by the ms at which its leases lapse. Written by renew, which removes those that lapsed."""
KEEPERS = "bl:keepers"
"""hash: keeper -> JSON of its duties' health (keepers.py). Written by keepers each round; a day after the last."""
KEY_USES = "bl:keys:used"
"""hash: id of an API key -> ms of its last use, to a minute. Written by note_use."""

# -- a job


def job(job_id: str) -> str:
    """hash: the record; fields stand in tasks/job.py and the scripts. Written by the scripts, deleted by forget."""
    return f"bl:job:{job_id}"


def log(job_id: str) -> str:
    """string: the log so far of a running job, in the form of its text so far, and as long there."""
    return f"bl:log:{job_id}"


def text(job_id: str) -> str:
    """string: the text so far of a running job: eight digits, the attempt's number, then its text, 64 KiB at most.

    Written by report; an end deletes it, and a day after the attempt's first text it lapses.
    """
    return f"bl:text:{job_id}"


# -- a line, a queue, a pool


def line(name: str) -> str:
    """zset: waiting job by score (fair tag less ten places a point of priority); `name` is <queue>:<model>[@v].

    Written where a job enters or leaves its line (_common.lua); goes with its last job.
    """
    return f"bl:line:{name}"


def idle(queue: str) -> str:
    """zset: lingering slot of the queue, by the ms until which it lingers. Written by claim; a submit pops it."""
    return f"bl:idle:{queue}"


def waiting(pool: str) -> str:
    """zset: job id by the ms since which it waits. Written by the release before alone; the keeper deletes it daily."""
    return f"bl:waiting:{pool}"


def leases(pool: str) -> str:
    """zset: id of a running job by the ms at which its lease lapses. Written by claim and renew; an end removes it."""
    return f"bl:leases:{pool}"


def fair(pool: str) -> str:
    """hash: `clock`, the pool's virtual clock; `tag:<flow>`, its last tag, and `jobs:<flow>`, its jobs in lines. A flow
    is a tenant, or <tenant>#batch for members of its batches.

    Written by claim and with the line; a flow's fields go with its last waiting job.
    """
    return f"bl:fair:{pool}"


def swept(pool: str) -> str:
    """hash: `at`, the ms of the last sweep; `hold`, the ms before which a sweep takes nothing. Written by sweep."""
    return f"bl:swept:{pool}"


# -- a worker


def worker(worker_id: str) -> str:
    """hash: pool, queues, lines, slots, host, draining, seen_ms, up_ms, and `alone:<process>`, the job that runs alone.

    Written by renew and claim; an hour after the last renewal.
    """
    return f"bl:worker:{worker_id}"


def slots(worker_id: str) -> str:
    """hash: slot -> '<token> <job id>' of its newest claim, '<token> -' after its end. Written by claim and the ends;
    an hour after the worker's last renewal."""
    return f"bl:slots:{worker_id}"


def wake(who: str) -> str:
    """list: words that wake a lingering slot (2 s) or a worker's parent (5 s). Written by the scripts, popped there."""
    return f"bl:wake:{who}"


# -- a tenant's jobs


def tenant_jobs(tenant: str) -> str:
    """zset: the tenant's job ids by the ms of their creation. Written by submit; forget removes them."""
    return f"bl:jobs:{tenant}"


def later(tenant: str) -> str:
    """set: the tenant's jobs that wait for a start time or a retry. Written with DUE."""
    return f"bl:later:{tenant}"


def dependents(tenant: str, job_id: str) -> str:
    """zset: a living job that names it as a source, 0 while it waits, else 1. By submit; that one's end removes it."""
    return f"bl:dependents:{tenant}:{job_id}"


def running(tenant: str) -> str:
    """set: the tenant's running jobs. Written by claim and the ends; a worker of an older release leaves some behind,
    which _parking.lua removes."""
    return f"bl:running:{tenant}"


def parked(tenant: str, line: str = "") -> str:
    """zset: a parked job of the line by its score there. Without a line a hash: see _parking.lua.

    Written by claim and unpark; goes with the tenant's last parked job.
    """
    return f"bl:parked:{tenant}:{line}" if line else f"bl:parked:{tenant}"


def dead(tenant: str) -> str:
    """zset: the tenant's dead letters by the ms of their end. Written at an end; a retry or forget removes them."""
    return f"bl:dead:{tenant}"


# -- a tenant's webhooks and deliveries


def owed(what: str, tenant: str, job_id: str) -> str:
    """hash: the state of a job's `webhook` or `delivery`; url, ended, status, attempts, next_ms, answer, ... Written at
    the job's end and by tell_owed; once told, until the record's retention ends, a day at least."""
    return f"bl:{what}:{tenant}:{job_id}"


def owed_hosts(what: str, tenant: str) -> str:
    """zset: host with its port, or bucket, by the ms of the earliest try there. Written with OWED."""
    return f"{OWED[what]}:{tenant}"


def owed_line(what: str, tenant: str, host: str) -> str:
    """zset: job id by the ms of its next try, or of the lease of one. Written with OWED."""
    return f"{OWED[what]}:{tenant}:{host}"


def passing(tenant: str) -> str:
    """list: '<event> <ms> <job id> <url>' of started and progress, the last 1,000. Written with PASSING; 1 min."""
    return f"bl:passing:{tenant}"


def took(keeper: str, what: str) -> str:
    """string: '<token> <tenant>:<job id> ...', the keeper's last answer of take_owed. As long as its lease."""
    return f"bl:took:{keeper}:{what}"


# -- a tenant's schedules


def schedule(tenant: str, schedule_id: str) -> str:
    """hash: id, tenant, change, content (JSON, tasks/schedule.py), next_ms. Written and deleted by put_schedule."""
    return f"bl:schedule:{tenant}:{schedule_id}"


def tenant_schedules(tenant: str) -> str:
    """zset: the tenant's schedules by the ms of their creation. Written with each."""
    return f"bl:schedules:{tenant}"


# -- a tenant's quotas


def stored(tenant: str) -> str:
    """hash: id of a job or an upload -> its bytes in the bucket. Written with STORED, until it is deleted there."""
    return f"bl:stored:{tenant}"


def held(tenant: str) -> str:
    """hash: job id -> bytes that its record takes in Redis. Written with HELD, until it is compacted or forgotten."""
    return f"bl:held:{tenant}"


def rate(tenant: str) -> str:
    """string: the ms until which the tenant's submits are paid for. Written by submit; a minute."""
    return f"bl:rate:{tenant}"


def upload_rate(tenant: str) -> str:
    """string: the ms until which the tenant's uploads are paid for. Written by upload; a minute."""
    return f"bl:rate:uploads:{tenant}"


def cost(pool: str, tenant: str) -> str:
    """list: ms at which the tenant's jobs cost the pool a process, the last three. Written by fail; ten minutes."""
    return f"bl:cost:{pool}:{tenant}"


def alone(pool: str, tenant: str) -> str:
    """string: the ms until which the tenant's jobs run alone in a process. Written by fail at the third cost; ten
    minutes."""
    return f"bl:alone:{pool}:{tenant}"


def usage(tenant: str, month: str) -> str:
    """hash: row (tasks/usage.py) -> its counters, and <metadata key> -> JSON of the values that are counted by
    themselves. Written by count_usage; goes three months behind the end of its month."""
    return f"bl:usage:{tenant}:{month}"


# -- a tenant's requests, uploads and artefacts


def idempotency(tenant: str, digest: str) -> str:
    """string: '<job id> <fingerprint>', 24 h, written by submit; with ' uploading' behind, 2 minutes, by reserve."""
    return f"bl:idem:{tenant}:{digest}"


def replay(tenant: str, digest: str) -> str:
    """string: JSON of a bulk retry with an Idempotency-Key, each dead letter's id and the new job's. Written by the
    API; 24 h."""
    return f"bl:replay:{tenant}:{digest}"


def upload_jobs(tenant: str, upload_id: str) -> str:
    """set: the jobs that name the upload. Written by submit; forget removes them."""
    return f"bl:upload:{tenant}/{upload_id}"


def making(tenant: str, kind: str, name: str) -> str:
    """string: the lock of the worker that makes this artefact. Lapses after 15 s, renewed while it is made."""
    return f"bl:making:{tenant}:{kind}:{name}"


def of_tenant(tenant: str) -> list[str]:
    """Patterns of the keys under a tenant's name, its jobs' aside: those that go when the tenant is erased."""
    return [
        dead(tenant),
        stored(tenant),
        held(tenant),
        rate(tenant),
        upload_rate(tenant),
        *(of(tenant, "*") for of in (replay, dependents, batch, idempotency, upload_jobs)),
        tenant_batches(tenant),
        receiving(tenant),
        schedule(tenant, "*"),
        tenant_schedules(tenant),
        making(tenant, "*", "*"),
        same(tenant, "*"),
        cached(tenant, "*"),
        cited(tenant, "*"),
        citing(tenant),
        passing(tenant),
        *(owed(what, tenant, "*") for what in OWED),
        *(owed_hosts(what, tenant) for what in OWED),
        *(owed_line(what, tenant, "*") for what in OWED),
        cost("*", tenant),
        alone("*", tenant),
        usage(tenant, "*"),
    ]
