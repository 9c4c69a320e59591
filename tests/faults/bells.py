"""2. Doorbells: taken by a worker that dies in that moment, deleted, doubled, and something that is none."""

import contextlib

from tests.faults import work
from tests.faults.gate import Gate
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until

QUEUES = ("cpu.generate", "gpu.generate")


@scenario("2a", "a worker dies with a doorbell that it has just taken", short=True)
def pop_window(place: Place, size: int) -> str:
    """Its reply from Redis is kept back, so that the bell has left the list and reaches nobody; then kill -9."""
    away = {name: place.processes.pop(name) for name in place.workers("cpu")}
    for process in away.values():
        process.stop(grace_s=30)
    with contextlib.ExitStack() as stack:
        gate = stack.enter_context(Gate(place.redis.port))
        url = place.settings.model_copy(update={}).redis_url.__class__(place.redis.url(port=gate.port))
        name = place.add_worker("cpu", redis_url=url, linger_s=0)
        gate.hold_pops()
        job_id = place.books.submit(work.noop("cpu"))
        until(lambda: gate.kept_back, 30, "the worker's pop has taken the bell")
        place.processes.pop(name).kill()
        place.books.struck("killed with a bell in hand")
    for name, process in away.items():
        process.start()
        place.processes[name] = process
    place.books.wait([job_id], 60)
    return "the keeper rings for what waits"


@scenario("2b", "doorbells are deleted, doubled, and joined by what is no JSON", short=True)
def lists(place: Place, size: int) -> str:
    client = place.client()
    for strike in ("deleted", "doubled", "garbage"):
        place.books.submit_all([work.noop(pool) for pool in ("cpu", "gpu") for _ in range(size // 6 + 1)])
        for queue in QUEUES:
            if strike == "deleted":
                client.delete(queue)
            elif strike == "doubled":
                for bell in client.lrange(queue, 0, -1) * 20:
                    client.lpush(queue, bell)
            else:
                client.rpush(queue, "no json at all", b"\x80\x04K\x01.")  # the second is a pickle
        place.books.struck(strike)
    place.books.wait(deadline_s=90)
    until(lambda: all(client.llen(queue) == 0 for queue in QUEUES), 90, "nothing of it lies in the queues")
    return f"after it {sum(len(place.workers(pool)) for pool in ('cpu', 'gpu'))} workers live"
