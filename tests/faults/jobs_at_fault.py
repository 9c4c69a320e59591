"""7 and 8. Jobs that are themselves the fault: they kill their process, run too long, take too much memory."""

import time

from tests.faults import work
from tests.faults.accounts import Job
from tests.faults.place import Place
from tests.faults.scenario import scenario

FAILED = frozenset({"failed"})


def _judge(place: Place, jobs: list[str], code: str) -> list[Job]:
    ended = [place.books.get(one) for one in jobs]
    assert {job["error"] and job["error"]["code"] for job in ended} == {code}, [job["error"] for job in ended]
    return ended


def _healthy(place: Place, pool: str) -> float:
    """Seconds until a job that asks nothing is done."""
    start = time.monotonic()
    place.books.wait([place.books.submit(work.noop(pool))], 60)
    return time.monotonic() - start


@scenario("7", "poison: jobs that kill their worker each time, among neighbours")
def poison(place: Place, size: int) -> str:
    """Dead letters after max_attempts, with the signal in the error; those beside them finish."""
    few = max(1, size // 20)
    place.books.submit_all([work.sleep(pool, 0.3, max_attempts=3) for pool in ("cpu", "gpu") for _ in range(size // 2)])
    sick = place.books.submit_all(
        [
            work.poison(pool, number, max_attempts=2)
            for _ in range(few)
            for pool, number in (("cpu", "SIGSEGV"), ("gpu", "SIGKILL"))
        ],
        FAILED,
    )
    place.books.wait(deadline_s=180)
    ended = _judge(place, sick, "worker_lost")
    for job in ended:
        place.books.struck("poison", [])
        assert len(job["attempts"]) == 2 and "SIG" in job["error"]["detail"], job
    return f"e.g. {ended[0]['error']['detail']!r}"


@scenario("8a", "jobs over their run_timeout_s, in Python and in C that holds the GIL, on both pools")
def too_long(place: Place, size: int) -> str:
    neighbours = place.books.submit_all(
        [work.sleep(pool, 0.3, max_attempts=1) for pool in ("cpu", "gpu") for _ in range(size // 2)]
    )
    late = place.books.submit_all(
        [
            make(pool, 60, run_timeout_s=1, max_attempts=3)
            for pool in ("cpu", "gpu")
            for make in (work.deaf, work.gil, work.sleep)
        ],
        FAILED,
    )
    place.books.wait(deadline_s=120)
    _judge(place, late, "timeout")
    for one in late:
        place.books.struck("too long", [])
        assert len(place.books.get(one)["attempts"]) <= 3, one
    blamed = [one for one in neighbours if place.books.get(one)["status"] != "succeeded"]
    assert not blamed, f"{len(blamed)} neighbours were blamed"
    return f"the pools answer {_healthy(place, 'cpu'):.1f} s and {_healthy(place, 'gpu'):.1f} s later"


@scenario("8b", "jobs over their memory limit, on both pools")
def too_large(place: Place, size: int) -> str:
    """A process of its own has its model's 400 MiB; a shared one has models_mb and the largest model's, 2,000 here."""
    hogs = place.books.submit_all([work.hog("cpu", 700), work.hog("gpu", 3000)], FAILED)
    place.books.wait(deadline_s=120)
    ended = _judge(place, hogs, "out_of_memory")
    for _ in hogs:
        place.books.struck("out of memory", [])
    return f"e.g. {ended[0]['error']['detail']!r}"
