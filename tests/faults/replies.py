"""6. Replies that are lost: of every verb, by chance; of a submit; and one Idempotency-Key by fifty at once."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.faults import work
from tests.faults.gate import Gate
from tests.faults.place import Place
from tests.faults.scenario import scenario
from tests.stack import until


@scenario("6a", "replies of the ledger's scripts are lost under load, whoever asked", short=True)
def lost_replies(place: Place, size: int) -> str:
    """Each verb by itself: tests/tasks/ledger/test_lost_replies.py."""
    had = place.redis_gate.faults
    jobs = place.books.submit_all([work.files(pool, f"n {n}") for n in range(size // 2) for pool in ("cpu", "gpu")])
    for _ in range(size):
        place.redis_gate.lose_reply()
        time.sleep(0.05)
    place.books.wait(jobs, 120)
    for _ in range(place.redis_gate.faults - had):
        place.books.struck("reply lost")
    return f"{place.redis_gate.faults - had} replies lost"


@scenario("6b", "the API is killed when it has recorded a job and not yet rung; the same key is sent again", short=True)
def recorded_not_rung(place: Place, size: int) -> str:
    """An API of its own reaches Redis by a gate that loses the reply and then closes."""
    key, client = secrets.token_hex(16), place.client()
    with Gate(place.redis.port) as gate:
        url = type(place.settings.redis_url)(place.redis.url(port=gate.port))
        with place.stack.api(redis_url=url) as api:
            assert _ask(place, api.url, secrets.token_hex(16)) == 202  # its scripts are known to Redis now
            known = client.zcard("bl:jobs:acme")
            for _ in range(5):  # also when it asks again
                gate.lose_reply()
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(_ask, place, api.url, key)
                until(lambda: client.zcard("bl:jobs:acme") > known or asked.done(), 20, "it is recorded")
                api.kill()
                asked.result()
    place.books.struck("API killed")
    first = client.zrevrange("bl:jobs:acme", 0, 0)[0]
    again = place.books.submit(work.noop("cpu"), key=key)
    assert again == first, f"the same key made {again} beside {first}"
    return "the same key found the same job"


def _ask(place: Place, url: str, key: str) -> int:
    """The status of a submit; 0 where nobody answered."""
    try:
        return httpx.post(
            f"{url}/v1/jobs",
            json=work.noop("cpu"),
            timeout=10,
            trust_env=False,
            headers={"Authorization": f"Bearer {place.key}", "Idempotency-Key": key},
        ).status_code
    except httpx.TransportError:
        return 0


@scenario("6c", "50 submits at once with one Idempotency-Key", short=True)
def one_key(place: Place, size: int) -> str:
    key = secrets.token_hex(16)
    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(lambda _: place.books.submit(work.noop("cpu"), key=key), range(50)))
    assert len(ids) == 1, f"{len(ids)} jobs of one key"
    place.processes["api"].kill()
    place.books.struck("API killed")
    place.mend()
    assert place.books.submit(work.noop("cpu"), key=key) in ids, "another job after the API came back"
    return "one job; after the API was killed and came back the same one"
