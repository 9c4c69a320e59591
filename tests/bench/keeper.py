"""What the keeper costs: its share of a core while jobs end at a steady rate, and how far its journal is behind.

The keeper is the real process, on a real Redis and S3 server; steady.py takes the place of API and workers. Beside it
the duties that each job passes through, in this process, one after the other.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tasks.bucket.direct import DirectStorage
from tasks.ids import now_ms
from tasks.ledger import Ledger, connect, keys
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import Backlot
from tests.bench.steady import end_one
from tests.bench.work import PATIENT_S, fill
from tests.stack import until
from worker.keeper.journal import Journal
from worker.keeper.retention import Retention
from worker.keeper.skipped import Skipped
from worker.keeper.trash import Trash

RATES = (100, 500, 2000)
"""Jobs a second that are offered."""
SAMPLE_S = 0.25
"""Seconds between two looks at the journal's cursors."""
TENANTS = 1000
LATE_S = 2
"""Seconds that the journal may be behind."""
TARGETS = {100: Target(10, of_ratio=False)}
"""Percent of a core, by rate."""
WHO = {"keeper": "the keeper", "redis": "Redis", "s3": "S3"}


STEADY_S, QUICK_STEADY_S = 30, 2
"""Seconds for which a rate is held."""
REST_S, QUICK_REST_S = 20, 2
"""Seconds without a new job."""
WAITING, QUICK_WAITING = 100_000, 1000
"""Jobs that wait while nothing is done."""
JOBS, QUICK_JOBS = 5000, 300
"""Jobs that pass through the duties by themselves."""


def measure(plan: Plan) -> list[Figure]:
    say, rest_s, waiting = plan.say, plan.size(REST_S, QUICK_REST_S), plan.size(WAITING, QUICK_WAITING)
    figures = _parts(plan.size(JOBS, QUICK_JOBS), say)
    with Backlot() as side:
        figures += _rest(side, "nothing to do", rest_s, say)
        for rate in RATES:
            figures += _steady(side, rate, plan.size(STEADY_S, QUICK_STEADY_S), say)
        _fill(side, waiting)
        figures += _rest(side, f"{waiting:,} jobs of {TENANTS:,} tenants waiting", rest_s, say)
    return figures


def _steady(side: Backlot, rate: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    ended, spent, counted, start = side.ended(), side.cpu_s(), _counters(side), time.perf_counter()
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.steady", str(rate), str(seconds)],
        env=side.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    segments, records = [], []
    while driver.poll() is None:
        segments.append(_behind_s(side, keys.SEGMENTED))
        records.append(_behind_s(side, keys.WRITTEN))
        time.sleep(SAMPLE_S)
    took = time.perf_counter() - start
    told = json.loads(driver.communicate()[0])
    now, counts = side.cpu_s(), _counters(side)
    until(side.recorded, 120 + told["jobs"] / 50, "the whole journal is in the bucket")
    recorded = side.cpu_s()
    assert side.records() == ended + told["jobs"], "not every job has its job.json"
    came = told["jobs"] / told["seconds"]
    name = f"keeper at {rate:,} jobs/s"
    figures = [
        Figure(f"{name}: came", "jobs/s", [came]),
        Figure(f"{name}: of a core", "%", [_percent(spent, now, "keeper", took)], target=TARGETS.get(rate)),
        *(Figure(f"- {WHO[who]}", "% of a core", [_percent(spent, now, who, took)]) for who in ("redis", "s3")),
        Figure("- segments and job.json written", "1/s", [_grown(counted, counts, PUTS) / took]),
        Figure("- job.json written", "1/s", [_grown(counted, counts, ["backlot_jobs_ended_total"]) / took]),
        Figure("- segments behind, at most", "s", [max(segments)], target=Target(LATE_S, of_ratio=False)),
        Figure("- job.json behind, at most", "s", [max(records)]),
        *(
            Figure(
                f"- {WHO[who]} a job, until all is written", "us", [_percent(spent, recorded, who, told["jobs"]) * 1e4]
            )
            for who, words in WHO.items()
        ),
    ]
    say(", ".join(f"{one.name} {one.backlot[0]:.1f} {one.unit}" for one in figures))
    return [*figures, *_duties(counted, counts, took)]


def _rest(side: Backlot, what: str, rest_s: int, say: Callable[[str], None]) -> list[Figure]:
    spent, counted, start = side.cpu_s(), _counters(side), time.perf_counter()
    time.sleep(rest_s)
    took, now, counts = time.perf_counter() - start, side.cpu_s(), _counters(side)
    figures = [
        Figure(f"keeper at rest, {what}: of a core", "%", [_percent(spent, now, "keeper", took)]),
        Figure("- Redis", "% of a core", [_percent(spent, now, "redis", took)]),
    ]
    say(", ".join(f"{one.name} {one.backlot[0]:.2f} {one.unit}" for one in figures))
    return [*figures, *_duties(counted, counts, took)]


def _parts(jobs: int, say: Callable[[str], None]) -> list[Figure]:
    """CPU and time of the duties that each job passes through, in this process."""
    figures = []
    with Backlot() as side:
        side.keeper.stop()
        client = connect(side.settings, read_timeout_s=PATIENT_S)  # a pool, as the keeper has
        ledger, storage = Ledger(side.settings, client), DirectStorage(side.settings)
        fill(ledger, jobs)
        for _ in range(jobs):
            end_one(ledger)
        journal, retention, trash = Journal(ledger, storage), Retention(ledger, storage), Trash(ledger, storage)
        skipped = Skipped("bench")
        figures += _part(side, "segments", jobs, journal.write_segments, say)
        figures += _part(side, "job.json", jobs, lambda: journal.write_job_json(for_s=3600), say)
        assert side.records() == jobs, "not every job has its job.json"
        for name, due, work in (
            ("retention of records", keys.RETAINED, retention.forget_jobs),
            ("erasure of what was kept", keys.TRASH, trash.empty),
            ("end of tombstones", keys.TOMBSTONES, retention.delete_tombstones),
        ):
            ledger.redis.zadd(due, dict.fromkeys(ledger.redis.zrange(due, 0, -1), 0))
            figures += _part(side, name, jobs, lambda due=due, work=work: _until_done(ledger, due, work, skipped), say)
        assert not skipped.count and not list(side.storage.list("tenants/"))
    return figures


def _part(side: Backlot, name: str, jobs: int, work: Callable[[], object], say: Callable[[str], None]) -> list[Figure]:
    spent, cpu, start = side.cpu_s(), time.process_time(), time.perf_counter()
    work()
    wall, cpu, now = time.perf_counter() - start, time.process_time() - cpu, side.cpu_s()
    s3 = 1e6 * (now["s3"] - spent["s3"]) / jobs
    say(f"keeper, {name}: {1e6 * cpu / jobs:.0f} us of CPU a job, S3 {s3:.0f}, {jobs / wall:,.0f} jobs/s")
    return [
        Figure(f"keeper, {name}: CPU a job", "us", [1e6 * cpu / jobs]),
        Figure("- S3 a job", "us", [s3]),
        Figure("- at most, alone", "jobs/s", [jobs / wall]),
    ]


def _until_done(ledger: Ledger, due: str, work: Callable[[Skipped], None], skipped: Skipped) -> None:
    while ledger.redis.exists(due):
        work(skipped)


def _behind_s(side: Backlot, cursor: str) -> float:
    """Age of the oldest entry that the cursor has not passed; 0 where there is none."""
    client = side.jobs.ledger.redis
    oldest = client.xrange(keys.JOURNAL, min=f"({client.get(cursor) or '0-0'}", count=1)
    return max(0.0, now_ms() - int(oldest[0][0].partition("-")[0])) / 1000 if oldest else 0.0


def _fill(side: Backlot, waiting: int) -> None:
    """Waiting jobs of many tenants; they are in the journal, too, before anything is measured."""
    fill(side.jobs.ledger, waiting, tenants=TENANTS)
    until(lambda: side.recorded(), 60 + waiting / 500, "the journal is written")


PUTS = ["backlot_jobs_ended_total", "backlot_journal_segments_total"]
DUTY_CPU = "backlot_duty_cpu_seconds_total"


def _counters(side: Backlot) -> dict[tuple[str, str], float]:
    """The keeper's counters by name and duty; what has another label is summed."""
    counts: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(side.keeper_metrics()):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("duty", ""))
            counts[key] = counts.get(key, 0) + sample.value
    return counts


def _grown(before: dict, after: dict, names: list[str]) -> float:
    return sum(value - before.get(key, 0) for key, value in after.items() if key[0] in names)


def _duties(before: dict, after: dict, took: float) -> list[Figure]:
    """A line for each duty that takes a thousandth of a core; its threads for the bucket are not in it."""
    shares = {
        duty: 100 * (value - before.get((name, duty), 0)) / took
        for (name, duty), value in after.items()
        if name == DUTY_CPU
    }
    busiest = sorted(shares.items(), key=lambda one: -one[1])
    return [Figure(f"- duty {duty}", "% of a core", [share]) for duty, share in busiest if share >= 0.1]


def _percent(before: dict[str, float], after: dict[str, float], who: str, took: float) -> float:
    return 100 * (after[who] - before[who]) / took
