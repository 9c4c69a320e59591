"""10. Clocks and versions: a worker ten minutes off, what a worker does not know, scripts gone, keepers two or none."""

import itertools
import subprocess
import time
import tomllib
from datetime import datetime
from pathlib import Path

from tasks.broker import DOORBELL, celery_app
from tests.faults import work
from tests.faults.place import MODELS, Place
from tests.faults.scenario import scenario
from tests.stack import ROOT, until

FAKETIME = [
    path
    for path in (
        *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
        Path("/usr/local/lib/faketime/libfaketime.so.1"),
    )
    if path.exists()
]


@scenario("10a", "a worker's clock is ten minutes ahead, another's ten minutes behind (libfaketime)")
def clock(place: Place, size: int) -> str:
    if not FAKETIME:
        return "NOT RUN: libfaketime is not installed here"
    for name in place.workers("cpu") + place.workers("gpu"):
        place.stop_process(name)
    made = []
    for pool, shift in (("cpu", "+10m"), ("gpu", "-10m")):
        with place.otherwise(env={"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": shift}):
            made.append(place.add_worker(pool))
    jobs = place.books.submit_all([work.files(pool, "x") for pool in ("cpu", "gpu") for _ in range(size // 2)])
    place.books.struck("clocks off")
    place.books.wait(jobs, 120)
    times = [
        [datetime.fromisoformat(job[name]) for name in ("created_at", "started_at", "completed_at")]
        for job in map(place.books.get, jobs)
    ]
    off = [one for one in times if one != sorted(one)]
    for name in made:
        place.stop_process(name)
    for pool in ("cpu", "cpu", "gpu", "gpu"):
        place.add_worker(pool)
    assert not off, f"{len(off)} jobs have times of the worker's clock"
    return "all times in the records are Redis' own"


@scenario("10b", "a job for a model, and a bell, that some workers do not know (a rolling deploy)", short=True)
def unknown(place: Place, size: int) -> str:
    """The models of tomorrow's workers and API have one more; today's must not touch its jobs."""
    newer = place.folder / "newer.toml"
    text = place.settings.models.read_text()
    newer.write_text(
        text + '\n[[model]]\nkind = "generate"\nname = "cpu-newer"\nalgorithm = "tests.models.noop"\npool = "cpu"\n'
    )
    assert "cpu-newer" in {model["name"] for model in tomllib.loads(newer.read_text())["model"]}
    with place.stack.api(models=newer) as api:
        old, place.books = place.books, place.new_books()
        place.books._http.base_url = api.url
        tomorrow = place.books.submit({"kind": "generate", "model": "cpu-newer", "input": {"prompt": "x"}})
        place.books._http.base_url = old.url
        ringing = celery_app(place.settings, ringing=True)
        for task, about in ((DOORBELL, "cpu.of-a-later-release"), ("of-a-later-release", "cpu.generate")):
            ringing.send_task(task, args=[about], queue="cpu.generate", retry=False)
        place.books.struck("unknown model and bell")
        today = place.books.submit_all([work.noop("cpu") for _ in range(size // 2)])
        place.books.wait(today, 90)
        assert place.books.get(tomorrow)["status"] == "queued", "an old worker took what it does not know"
        name = place.add_worker("cpu", models=newer)
        place.books.wait([tomorrow], 60)
        place.stop_process(name)
    return "it waited, untouched, for a worker that knows it"


@scenario("10c", "SCRIPT FLUSH and FUNCTION FLUSH under load")
def scripts(place: Place, size: int) -> None:
    place.books.submit_all([work.files(pool, "x") for pool in ("cpu", "gpu") for _ in range(size // 2)])
    for _ in range(20):
        place.client().script_flush()
        place.client().function_flush()
        place.books.struck("scripts flushed")
        time.sleep(0.1)


@scenario("10d", "two keepers at once; then both are killed; then one comes back", short=True)
def keepers(place: Place, size: int) -> None:
    with place.stack.keeper() as second:
        place.books.submit_all([work.sleep(pool, 0.2) for pool in ("cpu", "gpu") for _ in range(size // 2)])
        place.books.wait(deadline_s=90)
        second.kill()
    place.processes["keeper"].kill()
    place.books.struck("keepers killed")
    place.books.submit_all([work.noop(pool) for pool in ("cpu", "gpu") for _ in range(4)])
    place.books.wait(deadline_s=60)  # without a keeper jobs run; nobody sweeps
    assert all(entry.first for entry in place.books.entries.values())
    place.mend()
    until(lambda: place.processes["keeper"].alive, 20)


@scenario("10e", "records of the version before: without the fields that later versions added")
def older_records(place: Place, size: int) -> str:
    """Fields are added, never renamed: records lose here what 0.2 added, while they wait."""
    client, later = place.client(), ("suspect", "checkpoint", "stored")
    jobs = place.books.submit_all([work.sleep(pool, 0.3) for pool in ("cpu", "gpu") for _ in range(size // 2)])
    for one in jobs:
        client.hdel(f"bl:job:{one}", *later)
    place.books.struck("fields taken away")
    return f"without {', '.join(later)}"


@scenario("10f", "a rolling upgrade from the revision before the ledger's scripts last changed")
def upgrade(place: Place, size: int) -> str:
    """APIs and workers of both work on the same records meanwhile, each with its own scripts."""
    revision = place.revision or _git("log", "-1", "--skip=1", "--format=%h", "--", "tasks/ledger/**.lua").strip()
    if not revision:
        return "NOT RUN: git knows no older revision here"
    root = place.folder / f"revision-{revision}"
    root.mkdir(exist_ok=True)
    subprocess.run(["tar", "-x", "-C", root], input=_git("archive", revision, text=False), check=True)
    for name in place.workers("cpu") + place.workers("gpu"):
        place.stop_process(name)
    models = root / "models.toml"  # of its own: it may not know what entries say now
    models.write_text("\n".join((root / part.relative_to(ROOT)).read_text() for part in MODELS))
    with place.otherwise(root=root):
        older = [place.add_worker(pool, models=models) for pool in ("cpu", "gpu")]
        api = place.start("api-older", place.stack.api(models=models))
    urls = itertools.cycle((api.url, place.books.url))
    for n in range(size):
        place.books._http.base_url = next(urls)
        place.books.submit(
            work.sleep(("cpu", "gpu")[n // 2 % 2], 0.3, max_attempts=1)
            if n % 3
            else work.files(("cpu", "gpu")[n // 2 % 2], "x", max_attempts=1)
        )
        if n == size // 2:
            for pool in ("cpu", "gpu"):
                place.add_worker(pool)
            for name in older:
                place.books.struck("upgraded", place.held(name=name))
                place.stop_process(name)
    place.books.wait(deadline_s=90)
    by = {attempt["worker"] for job in map(place.books.get, place.books.entries) for attempt in job["attempts"]}
    place.books._http.base_url = place.books.url
    place.stop_process("api-older")
    for pool in ("cpu", "gpu"):
        place.add_worker(pool)
    assert len(by) == 4, f"not all four workers had work: {by}"
    return f"from revision {revision}"


def _git(*words: str, text: bool = True) -> str | bytes:
    """What git prints of this checkout; nothing where there is no git or no such thing."""
    empty = "" if text else b""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=text, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return empty
