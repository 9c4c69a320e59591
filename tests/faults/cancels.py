"""9. Cancels at every moment, and clocks that run out."""

import random
import statistics
import time

from tests.faults import work
from tests.faults.place import Place
from tests.faults.scenario import scenario

CANCELED, EITHER = frozenset({"canceled"}), frozenset({"canceled", "succeeded"})


def _cancel(place: Place, job_id: str) -> int:
    return place.books.insist("POST", f"/v1/jobs/{job_id}/cancel").status_code


def _confirmed_s(place: Place, job_id: str) -> float:
    """From asking until the API says canceled."""
    start = time.monotonic()
    assert _cancel(place, job_id) == 202
    place.books.insist("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    return time.monotonic() - start


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]


@scenario("9a", "cancel while it runs: a model that listens")
def listening(place: Place, size: int) -> str:
    taken = []
    for n in range(max(4, size // 3)):
        job_id = place.books.submit(work.sleep(("cpu", "gpu")[n % 2], 60), CANCELED)
        place.running(job_id)
        taken.append(_confirmed_s(place, job_id))
        place.books.struck("canceled")
    assert _p95(taken) < 1.0, f"p95 {_p95(taken):.2f} s"
    return f"confirmed in {_p95(taken):.2f} s at p95, {max(taken):.2f} s at most"


@scenario("9b", "cancel while it runs: by force on the cpu pool, never the shared process")
def deaf(place: Place, size: int) -> str:
    grace, taken = place.settings.grace_s, []
    for _ in range(2):
        job_id = place.books.submit(work.deaf("cpu", 60), CANCELED)
        place.running(job_id)
        taken.append(_confirmed_s(place, job_id))
        place.books.struck("canceled")
    shared = place.books.submit(work.deaf("gpu", grace + 3), EITHER)
    place.running(shared)
    before = {name: place.celery(name).pid for name in place.workers("gpu")}
    _cancel(place, shared)
    place.books.wait([shared], 60)
    assert before == {name: place.celery(name).pid for name in place.workers("gpu")}, "a shared process was ended"
    assert max(taken) < grace + 2, f"{max(taken):.1f} s with a grace of {grace:g} s"
    return f"{max(taken):.2f} s at most, with a grace of {grace:g} s; the gpu process lives"


@scenario("9c", "cancel while it waits, and at the moment of commit", short=True)
def at_commit(place: Place, size: int) -> str:
    """Jobs of some milliseconds, canceled at a random moment: one of the two wins, and the record says which."""
    won = {"canceled": 0, "succeeded": 0}
    for n in range(size):
        job_id = place.books.submit(work.files(("cpu", "gpu")[n % 2], "x"), EITHER)
        time.sleep(random.uniform(0, 0.03))
        answer = _cancel(place, job_id)
        place.books.struck("canceled")
        place.books.wait([job_id], 30)
        job = place.books.get(job_id)
        won[job["status"]] += 1
        assert (job["status"] == "succeeded") == (job["result"] is not None) == bool(job["outputs"]), job
        assert answer == 202 or (answer == 409 and job["status"] == "succeeded"), (answer, job["status"])
    return f"canceled {won['canceled']}, succeeded {won['succeeded']}"


@scenario("9d", "queue_ttl_s and deadline_s pass: expired where it never started, else failed")
def clocks(place: Place, size: int) -> None:
    busy = [place.books.submit(work.sleep("cpu", 4, priority=10)) for _ in range(4)]
    for one in busy:
        place.running(one)
    waits = [place.books.submit(work.noop("cpu", **{clock: 1}), {"expired"}) for clock in ("queue_ttl_s", "deadline_s")]
    started = place.books.submit(work.sleep("gpu", 60, deadline_s=2), {"failed"})
    place.books.wait(deadline_s=60)
    assert not any(place.books.get(one)["attempts"] for one in waits), "an expired job was run"
    assert place.books.get(started)["error"]["code"] == "deadline_exceeded"
