"""How far back the event stream reaches while jobs end as fast as they can, and whether listeners lose a change by it.

Two processes work off no-op jobs of 50 tenants until more changes came than the stream holds. Two clients listen to the
changes of one tenant. One stays, and comes back with its last event's id whenever it is cut off. The other leaves at
the start; once the stream has lost what it missed, it comes back, is told `reset`, and hears all that follows.
"""

import contextlib
import json
import threading
import time
from typing import Any

import httpx

from tasks.ledger import keys
from tests.bench.figures import Figure, Target
from tests.bench.plan import Plan
from tests.bench.sides import Backlot
from tests.bench.work import fixed
from tests.stack import until

CAP = 300_000
"""Entries that the stream holds (tasks/ledger/scripts/_record.lua)."""
MORE, QUICK_ENTRIES = 20_000, 1000
"""Entries beyond the cap, since Redis trims whole nodes; and all entries of the quick form."""
AT_ONCE, QUICK_AT_ONCE = 5000, 200
"""Jobs that are filled in when fewer wait."""
AFTER, SLOTS = 500, 2
"""Jobs that come once the second listener is back."""
KEY, TENANT = "bl_the-key-of-a-listener", "tenant-0"
STATUSES = ("queued", "running", "succeeded")


def measure(plan: Plan) -> list[Figure]:
    entries = plan.size(CAP + MORE, QUICK_ENTRIES)
    plan.say(f"flood: {entries:,} changes of status, two listeners")
    with Backlot() as side:
        told = _run(side, plan, entries)
    plan.say("  " + ", ".join(f"{name} {value:,.4g}" for name, value in told.items()))
    lost = Target(0, of_ratio=False)
    return [
        Figure("flood, jobs ended while listeners hear of them", "1/s", [told["per_s"]]),
        Figure(f"- seconds that {CAP:,} changes reach back then", "s", [told["reach_s"]]),
        Figure("- changes that the listener who stays missed", "", [told["lost"]], target=lost),
        Figure("- times that it was cut off and came back", "", [told["cuts"]]),
        Figure("- changes missed after `reset` by the one who was away", "", [told["lost_after"]], target=lost),
    ]


def _run(side: Backlot, plan: Plan, entries: int) -> dict[str, float]:
    side.add_tenant(KEY, TENANT)
    api, redis = side.start_api(), side.jobs.ledger.redis
    url = f"http://127.0.0.1:{api.port}"
    with _Listener(url) as away:
        until(lambda: away.cursor, 20, "a cursor")
    with _Listener(url) as stays:
        until(lambda: stays.cursor, 20, "a cursor")
        side.start_worker(SLOTS)
        first, ended, start = _added(side), side.ended(), time.perf_counter()
        while (came := _added(side) - first) < entries:
            if redis.zcard(keys.line(fixed(0).line)) < plan.size(AT_ONCE, QUICK_AT_ONCE):
                side.fill(plan.size(AT_ONCE, QUICK_AT_ONCE))
            time.sleep(0.05)
        took, done = time.perf_counter() - start, side.ended() - ended
        if plan.quick:
            redis.xtrim(keys.EVENTS, maxlen=10, approximate=False)
        _until_all_ended(side)
        stays.until_heard(_jobs(side))
        before = set(_jobs(side))
        with _Listener(url, away.cursor) as back:
            until(lambda: back.resets, 20, "the one who was away is told so")
            side.fill(AFTER)
            _until_all_ended(side)
            after = [job for job in _jobs(side) if job not in before]
            assert after, "no job of the listener's tenant came"
            back.until_heard(after)
            stays.until_heard(after)
            lost = len(stays.missing(_jobs(side)))
            assert not stays.resets or lost, "it lost nothing, and was told that it did"
            return {
                "per_s": done / took,
                "reach_s": CAP / (came / took),
                "lost": lost,
                "cuts": stays.cuts,
                "lost_after": len(back.missing(after)),
            }


def _added(side: Backlot) -> int:
    return side.jobs.ledger.redis.xinfo_stream(keys.EVENTS)["entries-added"]


def _jobs(side: Backlot) -> list[str]:
    """All jobs of the listener's tenant."""
    return side.jobs.ledger.redis.zrange(keys.tenant_jobs(TENANT), 0, -1)


def _until_all_ended(side: Backlot) -> None:
    redis = side.jobs.ledger.redis
    made = sum(redis.zcard(keys.tenant_jobs(f"tenant-{number}")) for number in range(50))
    until(lambda: side.ended() >= made, 120, f"{made:,} jobs have ended")


class _Listener:
    """A client of `GET /v1/events`, on a thread while the block runs; `after` is its last event, or ''.

    cursor  the id of its last event
    resets  how often it was told that changes are lost
    cuts    how often its stream ended
    """

    def __init__(self, url: str, after: str = "") -> None:
        self.cursor, self.resets, self.cuts = after, 0, 0
        self._url, self._over = url, threading.Event()
        self._heard: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "_Listener":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        with contextlib.suppress(AttributeError, OSError):
            self._answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
        self._thread.join()

    def missing(self, jobs: list[str]) -> set[tuple[str, str]]:
        return {(job, status) for job in jobs for status in STATUSES} - self._heard

    def until_heard(self, jobs: list[str]) -> None:
        """Waits until no change is missing, or none has come for two seconds."""
        heard, moment = -1, 0.0
        while self.missing(jobs) and (len(self._heard) > heard or time.monotonic() < moment + 2):
            if len(self._heard) > heard:
                heard, moment = len(self._heard), time.monotonic()
            time.sleep(0.05)

    def _listen(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._over.is_set():
                headers = {"Authorization": f"Bearer {KEY}"} | ({"Last-Event-ID": self.cursor} if self.cursor else {})
                with contextlib.suppress(httpx.HTTPError), client.stream("GET", "/v1/events", headers=headers) as told:
                    self._answer = told
                    told.raise_for_status()
                    self._read(told)
                self.cuts += not self._over.is_set()

    def _read(self, told: httpx.Response) -> None:
        event: dict[str, Any] = {}
        for line in told.iter_lines():
            name, _, value = line.partition(": ")
            if name:
                event[name] = value
                continue
            self.cursor = event.get("id", self.cursor)
            if event.get("event") == "status":
                change = json.loads(event["data"])
                self._heard.add((change["id"], change["status"]))
            self.resets += event.get("event") == "reset"
            event = {}
