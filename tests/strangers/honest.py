"""An honest tenant beside a stranger: it submits small jobs at a steady pace, polls each to its end, notes what it saw.

    with Honest(api.url, key).beside("300 half-sent heads") as seen:
        ...                                         # the stranger does what it does
    assert not seen.errors and seen.jobs

It knows the public API alone. What it saw alone and beside each stranger becomes a row of the table of
`make strangers` (conftest.py).
"""

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

EVERY_S = 0.1
ALONE_S = 2.0
ENDS_S = 60
ROWS: list[tuple[str, "Seen", "Seen"]] = []
"""What the stranger did, what the honest tenant saw alone, and beside it."""
TITLE = """# What an honest tenant sees beside strangers

Written by `make strangers`. *Alone* is measured first, on the same stack. On a gpu pool of four slots a stranger whose
jobs wait for a silent server holds slots until its own clocks end (`BACKLOT_MAX_RUNNING_JOBS` bounds that); a job that
kills the shared process costs the others its restart.

"""


@dataclass
class Seen:
    """`requests_ms`: of each request, submit or poll; `jobs_ms`: of each job, from its submit to its end as seen."""

    requests_ms: list[float] = field(default_factory=list)
    jobs_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        return len(self.jobs_ms)

    def quantile_ms(self, name: str, of: float) -> float:
        """Of `requests_ms` or `jobs_ms`; NaN where there are none."""
        values = sorted(getattr(self, name))
        return (
            statistics.quantiles(values, n=100, method="inclusive")[round(of * 100) - 1]
            if len(values) > 1
            else (values[0] if values else float("nan"))
        )


class Honest:
    """One tenant's key. `model`: a model of generate that takes no time; `pool`s may be compared by two of them."""

    def __init__(self, url: str, key: str, model: str = "cpu-noop") -> None:
        self.url, self._headers, self._model = url, {"Authorization": f"Bearer {key}"}, model
        self._alone: Seen | None = None

    def alone(self) -> Seen:
        """What it sees with nobody beside it; measured once."""
        if self._alone is None:
            with self._working() as seen:
                time.sleep(ALONE_S)
            self._alone = seen
        return self._alone

    @contextlib.contextmanager
    def beside(self, stranger: str) -> Iterator[Seen]:
        """Works until the block ends, then until its last job has; `stranger` names what is done beside it."""
        alone = self.alone()
        with self._working() as seen:
            yield seen
        ROWS.append((stranger, alone, seen))

    @contextlib.contextmanager
    def _working(self) -> Iterator[Seen]:
        seen, stop = Seen(), threading.Event()
        worker = threading.Thread(target=self._work, args=(seen, stop), name="honest", daemon=True)
        worker.start()
        try:
            yield seen
        finally:
            stop.set()
            worker.join(ENDS_S + 10)

    def _work(self, seen: Seen, stop: threading.Event) -> None:
        with httpx.Client(base_url=self.url, headers=self._headers, trust_env=False, timeout=10) as http:
            while True:
                start = time.monotonic()
                try:
                    self._one_job(http, seen)
                except Exception as error:
                    seen.errors.append(f"{type(error).__name__}: {error}"[:300])
                if stop.wait(max(0.0, EVERY_S - (time.monotonic() - start))):
                    return

    def _one_job(self, http: httpx.Client, seen: Seen) -> None:
        start = time.monotonic()
        body = {"kind": "generate", "model": self._model, "input": {"prompt": "honest"}}
        job = self._ask(seen, http, "POST", "/v1/jobs", body)
        while job and not job["done"]:
            if time.monotonic() - start > ENDS_S:
                seen.errors.append(f"{job['id']} is {job['status']} after {ENDS_S} s")
                return
            time.sleep(0.02)
            job = self._ask(seen, http, "GET", f"/v1/jobs/{job['id']}")
        if job and job["status"] == "succeeded":
            seen.jobs_ms.append((time.monotonic() - start) * 1000)
        elif job:
            seen.errors.append(f"{job['id']} {job['status']}: {job['error']}")

    def _ask(self, seen: Seen, http: httpx.Client, method: str, path: str, body: dict | None = None) -> dict | None:
        start = time.monotonic()
        answer = http.request(method, path, json=body)
        seen.requests_ms.append((time.monotonic() - start) * 1000)
        if answer.status_code in (200, 202):
            return answer.json()
        seen.errors.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return None


def table() -> str:
    """All rows as a page of Markdown."""
    head = TITLE + (
        "| beside | honest jobs | errors | request p50, ms, alone / beside | p95 | job p50, ms | p95 |\n"
        "|---|--:|--:|--:|--:|--:|--:|\n"
    )

    def pair(alone: Seen, seen: Seen, name: str, of: float) -> str:
        return f"{alone.quantile_ms(name, of):.1f} / {seen.quantile_ms(name, of):.1f}"

    return head + "".join(
        f"| {stranger} | {seen.jobs} | {len(seen.errors)} | {pair(alone, seen, 'requests_ms', 0.5)} | "
        f"{pair(alone, seen, 'requests_ms', 0.95)} | {pair(alone, seen, 'jobs_ms', 0.5)} | "
        f"{pair(alone, seen, 'jobs_ms', 0.95)} |\n"
        for stranger, alone, seen in ROWS
    )
