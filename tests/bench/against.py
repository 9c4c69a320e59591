"""python -m tests.bench.against REV: the work tree's servers beside those of a revision, in turns, in short form.

Both trees run at once, each with its own Redis, S3, API, keeper and cpu worker, under the same libraries. Only one of
them is asked at a time; the order changes from pair to pair. They are driven over HTTP and looked at in Redis alone, so
that this file need not know the revision's code. CPU figures are the ones to trust on a machine that is not quiet.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.table import Table

from tests.bench import noise, quiet
from tests.bench.load import WARM_UP
from tests.bench.sides import KEY, TENANT, cpu_s, family, load, serving, stopped
from tests.bench.work import BODY
from tests.stack import ROOT, Process, RedisServer, S3Server, environment, free_port, make_settings, make_storage, until

CONNECTIONS = 32
PICKUPS, RESTED = 40, 2
GAP_S, REST_S = (0.005, 0.025), 1.3
IDLE_CORES, IDLE_S = 0.15, 0.5
"""A tree is at rest once all its processes together have taken less than so much for so long."""
RETAINED, JOURNAL, EVENTS = "bl:retained", "bl:journal", "bl:events"  # names in Redis that every release keeps
HEADERS = {"Authorization": f"Bearer {KEY}"}
Told = dict[str, float]
console = Console(highlight=False, soft_wrap=True)

ROWS = {  # key: what people call it, and whether more is better
    "submits_s": ("submit, workers stopped, 1/s", True),
    "p50_ms": ("- p50, ms", False),
    "p99_ms": ("- p99, ms", False),
    "submit_api_us": ("- CPU a job, API, us", False),
    "submit_redis_us": ("- CPU a job, Redis, us", False),
    "waiting_bytes": ("- Redis, a waiting job, bytes", False),
    "drain_s": ("drain, 2 processes, 1/s", True),
    "drain_worker_us": ("- CPU a job, the worker, us", False),
    "drain_redis_us": ("- CPU a job, Redis, us", False),
    "keeper_us": ("CPU a job from submit to rest, the keeper, us", False),
    "s3_us": ("- S3, us", False),
    "redis_us": ("- Redis, us", False),
    "pickup_ms": ("pickup, submit over HTTP, p50, ms", False),
    "rested_ms": (f"- after {REST_S} s of rest, p50, ms", False),
}


@click.command(help=__doc__)
@click.argument("revision")
@click.option("--pairs", type=click.IntRange(3), default=6, show_default=True)
@click.option("--count", type=click.IntRange(100), default=1500, show_default=True, help="jobs a run")
@click.option("--anyway", is_flag=True, help="go on where something else takes the cores")
def main(revision: str, pairs: int, count: int, anyway: bool) -> None:
    for name in [name for name in os.environ if name.startswith("BACKLOT_")]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with us
    start = time.monotonic()
    quiet.require(console.print, anyway)
    with _revision(revision) as root, Tree("old", root) as old, Tree("new", ROOT) as new:
        runs: dict[str, list[Told]] = {"old": [], "new": []}
        for pair in range(pairs):
            for tree in (old, new) if pair % 2 == 0 else (new, old):
                runs[tree.name].append(tree.run(count))
                told = ", ".join(f"{key} {value:,.4g}" for key, value in runs[tree.name][-1].items())
                console.print(f"  {pair + 1}/{pairs} {tree.name}: {told}")
    _show(revision, runs)
    console.print(f"{time.monotonic() - start:.0f} s.")


@contextlib.contextmanager
def _revision(revision: str) -> Iterator[Path]:
    """The revision's files, in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="backlot-against-") as name:
        packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True)
        if packed.returncode:
            raise click.ClickException(packed.stderr.decode().strip())
        subprocess.run(["tar", "-x", "-C", name], input=packed.stdout, check=True)
        yield Path(name)


class Tree:
    """The servers of the code in `root`, up and warm inside a `with`."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self._root = name, root

    def __enter__(self) -> "Tree":
        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backlot-against-")))
            self._processes: dict[str, Process] = {}
            redis = self._kept(stack, RedisServer(self._folder))
            s3 = self._kept(stack, S3Server(self._folder))
            self._env = self._environment(redis, s3)
            self._client = redis.client()
            port = free_port()
            self._kept(stack, self._process("keeper", "worker", "keeper"))
            self._api = self._kept(stack, self._process("api", "api", "--port", str(port), "--processes", "2"))
            self._api.port = port
            self._http = stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, trust_env=False)
            )
            self._worker = self._kept(stack, self._process("worker", "worker", "cpu"))
            self._api.until_up(lambda: self._http.get("/readyz").status_code == 200, 60)
            until(lambda: len(serving(self._api)) >= 2, 30, "both processes of the API")
            self._run_one()
            self._load(100)
            self._until_rest()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, count: int) -> Told:
        """Submits with the worker stopped, its drain, what follows from that in the keeper, and pickups."""
        begun, ended = self._cpu(), self._ended()
        used = self._used()
        with stopped(self._worker) as went_on:
            told, posted = self._load(count)
            submitted, now = self._cpu(), self._used()
        until(lambda: self._ended() >= ended + posted, 300, f"{posted} jobs drained")
        drained_s, drained = time.perf_counter() - went_on[0], self._cpu()
        self._until_rest()
        self._all_succeeded()
        rest = self._cpu()
        soon = [self._pickup_ms(random.uniform(*GAP_S)) for _ in range(PICKUPS)]
        rested = [self._pickup_ms(REST_S) for _ in range(RESTED)]
        return {
            "least_share": told["least_share"],
            "submits_s": told["per_s"],
            "p50_ms": told["p50_ms"],
            "p99_ms": told["p99_ms"],
            "submit_api_us": _us("api", begun, submitted, posted),
            "submit_redis_us": _us("redis", begun, submitted, posted),
            "waiting_bytes": (now - used) / posted,
            "drain_s": posted / drained_s,
            "drain_worker_us": _us("worker", submitted, drained, posted),
            "drain_redis_us": _us("redis", submitted, drained, posted),
            "keeper_us": _us("keeper", begun, rest, posted),
            "s3_us": _us("s3", begun, rest, posted),
            "redis_us": _us("redis", begun, rest, posted),
            "pickup_ms": statistics.median(soon),
            "rested_ms": statistics.median(rested),
        }

    def _environment(self, redis: RedisServer, s3: S3Server) -> dict[str, str]:
        models = Path(__file__).with_name("models.toml")
        settings = make_settings(redis.url(), s3, "against", self._folder, models=models, cpu_slots=2)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        settings.keys_file.write_text(json.dumps({"keys": [{"sha256": digest, "tenant": TENANT}]}))
        make_storage(settings)
        return environment(settings)

    def _process(self, name: str, *words: str) -> Process:
        return Process(name, [sys.executable, "-m", *words], self._folder, self._env, self._root)

    def _kept(self, stack: contextlib.ExitStack, process: Process) -> Process:
        self._processes[process.name] = process
        stack.callback(process.stop)
        return process

    def _load(self, count: int) -> tuple[Told, int]:
        """What the load generator saw, and how many jobs it made."""
        return load(self._api, HEADERS, count, CONNECTIONS), count + WARM_UP * CONNECTIONS

    def _run_one(self, model: str = "cpu-noop") -> str:
        """Submit one job and wait for its end; the text it answers."""
        answer = self._http.post("/v1/jobs", json={**json.loads(BODY), "model": model}).raise_for_status()
        return until(lambda: self._text(answer.json()["id"]), 60, "the job has run")

    def _text(self, job: str) -> str | None:
        seen = self._http.get(f"/v1/jobs/{job}").raise_for_status().json()
        assert seen["status"] in ("queued", "running", "succeeded"), seen
        return seen["result"]["text"] if seen["status"] == "succeeded" else None

    def _pickup_ms(self, rest_s: float) -> float:
        """From just before the POST to the first line of the job's code."""
        time.sleep(rest_s)
        submitted = time.time_ns()
        return (int(self._run_one("cpu-probe")) - submitted) / 1e6

    def _cpu(self) -> Told:
        return {name: sum(map(cpu_s, family(process))) for name, process in self._processes.items()}

    def _until_rest(self) -> None:
        def idle() -> bool:
            before = sum(self._cpu().values())
            time.sleep(IDLE_S)
            return sum(self._cpu().values()) - before < IDLE_CORES * IDLE_S

        until(idle, 120, f"the {self.name} tree is at rest")

    def _ended(self) -> int:
        return self._client.zcard(RETAINED)

    def _all_succeeded(self) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for job in self._client.zrange(RETAINED, 0, -1):
                pipeline.hget(f"bl:job:{job}", "status")
            assert set(pipeline.execute()) == {"succeeded"}, "not every job succeeded"

    def _used(self) -> int:
        """Bytes of Redis without the two streams, whose length depends on the moment."""
        streams = sum(self._client.memory_usage(key) or 0 for key in (JOURNAL, EVENTS))
        return self._client.info("memory")["used_memory"] - streams


def _us(name: str, before: Told, after: Told, count: int) -> float:
    """CPU microseconds of that server for one of `count` jobs."""
    return 1e6 * (after[name] - before[name]) / count


def _show(revision: str, runs: dict[str, list[Told]]) -> None:
    """Medians, lowest and highest; the ratio and its interval; and whether that is more than noise."""
    table = Table("", f"old ({revision})", "new", "new / old", f"{noise.CERTAINTY:.0%} of chance", "")
    for key, (name, more_is_better) in ROWS.items():
        old, new = ([run[key] for run in runs[tree]] for tree in ("old", "new"))
        found = noise.ratio(old, new)
        if found is None:
            table.add_row(name, _values(old), _values(new), "", "", "")
            continue
        better = (found.middle > 1) == more_is_better
        verdict = ("better" if better else "WORSE") if found.certain else "within the noise"
        style = ("green" if better else "red") if found.certain else None
        interval = f"{found.low:.2f}-{found.high:.2f}"
        table.add_row(name, _values(old), _values(new), f"{found.middle:.2f}", interval, verdict, style=style)
    Console(width=150, highlight=False).print(table)


def _values(values: list[float]) -> str:
    return f"{statistics.median(values):,.4g} ({min(values):,.4g}-{max(values):,.4g})"


if __name__ == "__main__":
    main()
