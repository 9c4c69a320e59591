"""3. Workers are told to go, one after the other and all of them; and connections that come back wrong."""

import signal
import time

from tests.faults import work
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until


def _leave(place: Place, pool: str, number: int, seconds: tuple[float, float]) -> str:
    """A worker holds a short job and a long one, and is told to go by that signal once another is there, as in a
    rolling restart."""
    for other in place.workers(pool):
        place.stop_process(other)
    name = place.add_worker(pool)
    short, long = (
        place.books.submit(make(pool, length, max_attempts=1))
        for make, length in zip((work.sleep, work.deaf), seconds, strict=True)
    )
    place.running(short), place.running(long)
    place.add_worker(pool)
    start = time.monotonic()
    place.processes[name].signal(number)
    place.books.struck(signal.Signals(number).name, [short, long])
    until(lambda: not place.processes[name].alive, 60, "the worker has left")
    left_s = time.monotonic() - start
    del place.processes[name]
    handed_back = [job["attempts"][0]["outcome"] for job in map(place.books.get, (short, long))]
    place.add_worker(pool)
    place.books.wait([short, long], 90)
    grace = place.settings.grace_s if number == signal.SIGTERM else 0
    assert handed_back == ["succeeded" if grace else "released", "released"], handed_back
    assert left_s < grace + 5, f"gone only after {left_s:.1f} s"
    return f"left after {left_s:.1f} s (grace {grace:g} s)"


@scenario("3a", "SIGTERM to a cpu worker mid-job: what fits the grace finishes, the rest is handed back")
def term_cpu(place: Place, size: int) -> str:
    return _leave(place, "cpu", signal.SIGTERM, (2, 12))


@scenario("3b", "SIGTERM to a gpu worker mid-job")
def term_gpu(place: Place, size: int) -> str:
    return _leave(place, "gpu", signal.SIGTERM, (2, 15))


@scenario("3c", "SIGQUIT to a cpu worker mid-job: all is handed back at once")
def quit_cpu(place: Place, size: int) -> str:
    return _leave(place, "cpu", signal.SIGQUIT, (10, 12))


@scenario("3d", "SIGQUIT to a gpu worker mid-job")
def quit_gpu(place: Place, size: int) -> str:
    return _leave(place, "gpu", signal.SIGQUIT, (10, 12))


@scenario("3e", "a rolling restart of all workers under load")
def rolling(place: Place, size: int) -> None:
    place.books.submit_all([work.sleep(pool, 0.4, max_attempts=1) for pool in ("cpu", "gpu") for _ in range(size)])
    for pool in ("cpu", "gpu"):
        for name in place.workers(pool):
            hit = place.held(name=name)
            place.processes[name].signal(signal.SIGTERM)
            place.books.struck("restarted", hit)
            until(lambda n=name: not place.processes[n].alive, 60, f"{name} has left")
            place.processes[name].start()


@scenario("3f", "connections to Redis are cut six times within 3 s", short=True)
def cut(place: Place, size: int) -> None:
    """Celery's redis transport is known to come back deaf from it; whoever takes no bells is replaced."""
    place.books.submit_all([work.sleep(pool, 0.2) for pool in ("cpu", "gpu") for _ in range(size // 2)])
    for _ in range(6):
        place.redis_gate.cut()
        place.books.struck("connections cut")
        time.sleep(0.4)
    place.books.wait(deadline_s=90)
    place.books.submit_all([work.noop(pool) for pool in ("cpu", "gpu") for _ in range(4)])
