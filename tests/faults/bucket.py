"""5. The bucket: away, slow, failing one request in three, dropping uploads; and a job.json that is written later."""

import time

from tasks.bucket.layout import job_json_key
from tests.faults import work
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until

KIB = 512


def _make(place: Place, size: int) -> tuple[list[str], list]:
    """Jobs with outputs of some size; and the file in which each run of the model is a line."""
    mark = place.folder / f"made-{time.monotonic_ns()}"
    bodies = [work.late_files(pool, 0.2, KIB, str(mark)) for _ in range(size // 2) for pool in ("cpu", "gpu")]
    return place.books.submit_all(bodies), [mark]


def _ran_once(place: Place, jobs: list[str], mark) -> str:
    runs = len(mark.read_text().splitlines())
    attempts = [attempt for job in map(place.books.get, jobs) for attempt in job["attempts"]]
    others = [(one["outcome"], (one["error"] or {}).get("detail")) for one in attempts if one["outcome"] != "succeeded"]
    assert runs == len(jobs), f"the model ran {runs} times for {len(jobs)} jobs ({len(attempts)} starts); {others[:3]}"
    return f"the model ran {runs} times for {len(jobs)} jobs"


@scenario("5a", "the bucket is away while outputs are to be uploaded", short=True)
def away(place: Place, size: int) -> str:
    seconds = 60 if size >= 40 else 6
    jobs, (mark,) = _make(place, min(size, 16))
    until(mark.exists, 60, "a model runs")
    place.s3_gate.close_for(seconds)
    place.books.struck(f"bucket away for {seconds} s")
    said = until(
        lambda: next(
            (
                job["message"]
                for job in map(place.books.get, jobs)
                if job["status"] == "running" and "bucket" in (job["message"] or "")
            ),
            None,
        ),
        seconds + 20,
        "a job says that it waits for the bucket",
    )
    place.books.wait(jobs, seconds + 90)
    return f"away for {seconds} s; {_ran_once(place, jobs, mark)}; a job said: {said!r}"


@scenario("5b", "the bucket fails one request in three", short=True)
def one_in_three(place: Place, size: int) -> str:
    place.s3_gate.fail_every(3)
    try:
        jobs, (mark,) = _make(place, size)
        place.books.wait(jobs, 120)
    finally:
        place.s3_gate.fail_every(0)
    place.books.struck("one request in three refused")
    return f"{_ran_once(place, jobs, mark)}; {place.s3_gate.faults} requests refused so far"


@scenario("5c", "uploads are cut off in the middle")
def broken(place: Place, size: int) -> str:
    before = place.s3_gate.faults
    place.s3_gate.break_uploads(max(2, size // 4))
    try:
        jobs, (mark,) = _make(place, size)
        place.books.wait(jobs, 120)
    finally:
        place.s3_gate.break_uploads(0)
    cut = place.s3_gate.faults - before
    for _ in range(cut):
        place.books.struck("upload cut off")
    assert cut, "no upload was cut off"
    return f"{cut} cut off; {_ran_once(place, jobs, mark)}"


@scenario("5d", "the bucket takes 2 s for each request")
def slow(place: Place, size: int) -> str:
    place.s3_gate.slow(2)
    try:
        jobs, (mark,) = _make(place, min(size, 16))
        place.books.wait(jobs, 180)
    finally:
        place.s3_gate.slow(0)
    place.books.struck("slow")
    return _ran_once(place, jobs, mark)


@scenario("5e", "the bucket is away when a job has ended: its job.json is written later")
def job_json(place: Place, size: int) -> None:
    place.s3_gate.close_for(8)
    place.books.struck("bucket away")
    jobs = place.books.submit_all([work.noop(pool) for pool in ("cpu", "gpu") for _ in range(size // 2)])  # no outputs
    place.books.wait(jobs, 60)
    assert all(place.books.entries[one].first for one in jobs), "a job without outputs waited for the bucket"
    until(lambda: all(place.storage.head(job_json_key("acme", one)) for one in jobs), 120, "each job.json is there")
