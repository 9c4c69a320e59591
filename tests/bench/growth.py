"""Whether submit, claim and commit cost the same however many jobs wait.

Two servers side by side, one with ten jobs waiting, one that is filled step by step; at each step both are measured in
turns, so that a busy machine slows both. Each round is a submit, a claim and a commit, so that the number stays.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tasks.ledger import Ledger, Worker, keys
from tasks.settings import Settings
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.work import PATIENT_S, fill, fixed
from tests.stack import RedisServer, until

FEW = 10
BLOCKS, ROUNDS = 10, 100  # in turns; rounds in each
FILLERS, PART = 2, 10_000
LINES = ["cpu.caption:cnn-lstm", "cpu.generate:cpu-noop", "cpu.recommend:als", "cpu.transcribe:hmm"]
WORKER = Worker("bench", "cpu", sorted({line.partition(":")[0] for line in LINES}), LINES)
Times = dict[str, list[float]]


def measure(plan: Plan) -> list[Figure]:
    """From ten jobs to as many as the plan has."""
    with tempfile.TemporaryDirectory(prefix="backlot-bench-") as folder:
        servers = [RedisServer(Path(folder), name) for name in ("few", "many")]
        try:
            few, many = ledgers = [_patient(Settings(redis_url=server.url())) for server in servers]
            for ledger in ledgers:
                ledger.set_epoch()
                fill(ledger, FEW)
            figures = []
            for size in (size for size in (1000, 100_000, 1_000_000) if size <= plan.waiting):
                plan.say(f"growth: filling up to {size:,} waiting jobs")
                _fill_to(many, size)
                figures += _compare(few, many, size, plan.say)
            return figures
        finally:
            for server in servers:
                server.kill()


def _compare(few: Ledger, many: Ledger, size: int, say: Callable[[str], None]) -> list[Figure]:
    at_few, at_many = {}, {}
    for _ in range(BLOCKS):
        _rounds(few, at_few)
        _rounds(many, at_many)
    figures = []
    for verb in ("submit", "claim", "commit", "ping"):
        small, large = (1e6 * statistics.median(times[verb]) for times in (at_few, at_many))
        say(f"  {verb:6} p50 {small:,.0f} us with {FEW} waiting, {large:,.0f} us with {size:,}")
        target = Target(1.2) if verb != "ping" else None
        name = f"{verb}, {size:,} waiting (beside: {FEW}), p50" if verb != "ping" else "- PING, for scale, p50"
        figures.append(Figure(name, "us", [large], [small], target))
    used = many.redis.info("memory")["used_memory"]
    return [*figures, Figure("- Redis memory then", "MB", [used / 1e6])]


def _rounds(ledger: Ledger, times: Times) -> None:
    ledger.redis.xtrim(keys.JOURNAL, maxlen=0, approximate=False)
    for number in range(ROUNDS):
        job, token = fixed(number), f"{time.time_ns():032x}"
        _timed(times, "submit", lambda job=job: ledger.submit(job))
        claimed = _timed(times, "claim", lambda token=token: ledger.claim(WORKER, "bench:0", token))
        ended = _timed(times, "commit", lambda c=claimed: ledger.commit(c.fixed.id, c.token, {"text": "x"}, [], {}))
        assert ended == "succeeded", ended
        _timed(times, "ping", ledger.redis.ping)


def _timed(times: Times, verb: str, call: Callable):
    start = time.perf_counter()
    answer = call()
    times.setdefault(verb, []).append(time.perf_counter() - start)
    return answer


def _fill_to(ledger: Ledger, size: int) -> None:
    """By two processes; the journal is trimmed meanwhile, as the keeper does, and a rewrite of the log waited for."""
    missing = size - ledger.redis.zcard(keys.line(fixed(0).line))
    parts = [PART] * (missing // PART) + [missing % PART]
    with ProcessPoolExecutor(FILLERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(_fill_part, [ledger.settings] * len(parts), parts))
    assert ledger.redis.zcard(keys.line(fixed(0).line)) == size
    until(lambda: not ledger.redis.info("persistence")["aof_rewrite_in_progress"], 120, "the log is rewritten")


def _fill_part(settings: Settings, count: int) -> None:
    ledger = _patient(settings)
    fill(ledger, count)
    ledger.redis.xtrim(keys.JOURNAL, maxlen=0, approximate=False)


def _patient(settings: Settings) -> Ledger:
    return Ledger(settings, read_timeout_s=PATIENT_S)
