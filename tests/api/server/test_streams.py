"""Event streams of a job at a real server: what they tell, how many there may be, and how they end."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api import keyfile
from api.client import Client
from tasks.ledger import Ledger, connect, keys
from tests.api.conftest import PROMPT, Hand, in_seconds
from tests.conftest import PATIENT_S
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until

IN_ALL, OF_A_TENANT = 5, 4

ORIGIN = "https://app.example"


class Api:
    """One process of the API, callers of it, and a worker done by hand."""

    def __init__(self, url: str, keys: dict[str, str], hand: Hand, process) -> None:
        self.url, self.keys, self.hand, self.process = url, keys, hand, process

    def ask(self, method: str, path: str, who: str = "acme", **more) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}", **more.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, trust_env=False, timeout=20, **more)

    def submit(self, who: str = "acme", **more) -> dict:
        return self.ask("POST", "/v1/jobs", who, json={**PROMPT, **more}).json()

    @contextlib.contextmanager
    def stream(self, path: str, who: str = "acme", **headers: str) -> Iterator["Heard"]:
        headers = {"Authorization": f"Bearer {self.keys[who]}", **headers}
        with httpx.stream("GET", self.url + path, headers=headers, trust_env=False, timeout=20) as answer:
            yield Heard(answer)


class Heard:
    """A stream as a listener hears it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer, self._lines = answer, answer.iter_lines()

    def next(self) -> dict:
        """The fields of the next block, `data` read as JSON; empty at the end of the stream."""
        fields = {}
        for line in self._lines:
            if not line and fields:
                break
            if line.startswith(":") or not line:
                continue
            name, _, value = line.partition(": ")
            fields[name] = json.loads(value) if name == "data" else value
        return fields

    def rest(self) -> list[dict]:
        return list(iter(self.next, {}))


@pytest.fixture(scope="module")
def api(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("streams")
    settings = make_settings(
        redis_server.for_a_stack(),
        s3_server,
        "test-streams",
        folder,
        http_streams=IN_ALL,
        http_streams_per_tenant=OF_A_TENANT,
        http_threads=2,
        cors_origins=[ORIGIN],
    )
    storage, ledger = make_storage(settings), Ledger(settings, connect(settings, read_timeout_s=PATIENT_S))
    ledger.set_epoch()
    keys = {name: keyfile.add(settings.keys_file, name) for name in ("acme", "rival")}
    with Stack(settings, folder).api() as process:
        yield Api(process.url, keys, Hand(ledger, storage), process)


def events_of(job: dict) -> str:
    return f"/v1/jobs/{job['id']}/events"


def test_a_stream_tells_a_job_from_its_snapshot_to_its_end(api):
    """Each change once, in order, and the job at its end as GET shows it; then the stream is over."""
    job = api.submit()
    with api.stream(events_of(job)) as heard:
        assert heard.answer.headers["Content-Type"].startswith("text/event-stream")
        assert heard.answer.headers["Cache-Control"] == "private, no-store"
        assert heard.next() == {
            "event": "snapshot",
            "data": {"job": api.ask("GET", job["links"]["self"]).json(), "text": None, "log": None},
        }
        claimed = api.hand.claim()
        started = heard.next()
        assert started["event"] == "status"
        assert (started["data"]["status"], started["data"]["attempt"]) == ("running", 1)
        api.hand.ledger.report(job["id"], claimed.token, progress=0.5, message="half")
        assert heard.next() == {"event": "progress", "data": {"phase": "running", "progress": 0.5, "message": "half"}}
        api.hand.finish(claimed)
        (done,) = heard.rest()
    assert done == {"event": "done", "data": api.ask("GET", job["links"]["self"]).json()}
    assert done["data"]["status"] == "succeeded"


def test_the_client_hears_the_same(api):
    job = api.submit()
    heard = Client(api.url, api.keys["acme"]).events(job["id"])
    assert next(heard)[0] == "snapshot"
    api.ask("POST", job["links"]["cancel"])
    assert [(name, data["status"]) for name, data in heard] == [("done", "canceled")]


def test_a_job_that_is_done_is_told_at_once(api):
    """Snapshot and done, and nothing is kept open; who comes again hears the same."""
    job = api.submit()
    done = api.ask("POST", job["links"]["cancel"]).json()
    answer = api.ask("GET", events_of(job))
    snapshot, told = (block.split("\n") for block in answer.text.strip().split("\n\n"))
    assert snapshot[0] == "event: snapshot" and json.loads(snapshot[1].removeprefix("data: ")) == {
        "job": done,
        "text": None,
        "log": None,
    }
    assert told[0] == "event: done" and json.loads(told[1].removeprefix("data: ")) == done


def test_the_text_so_far_is_told_as_it_grows(api):
    """In the snapshot what there is, then what is new behind its offset; another attempt's begins with a reset."""
    from tests.tasks.ledger.conftest import AWAY

    job = api.submit()
    claimed = api.hand.claim()
    report = api.hand.ledger.report
    report(job["id"], claimed.token, text="Once, é", text_at=0)
    with api.stream(events_of(job)) as heard, api.stream(events_of(job)) as other:
        told = heard.next()["data"]["text"]
        assert told == {"attempt": 1, "offset": 0, "text": "Once, é", "text_cut": False}
        other.next()
        report(job["id"], claimed.token, text=" upon", text_at=8)
        more = {"event": "text", "data": {"attempt": 1, "offset": 8, "text": " upon", "text_cut": False}}
        assert heard.next() == other.next() == more
        report(job["id"], claimed.token, text="x" * 65536, text_at=13)
        assert heard.next()["data"] == {"attempt": 1, "offset": 13, "text": "", "text_cut": True}
        api.hand.ledger.fail(job["id"], claimed.token, AWAY)
        claimed = api.hand.claim()
        report(job["id"], claimed.token, text="Twice", text_at=0)
        names = [(one := heard.next())["event"]]
        while names[-1] != "text":
            names.append((one := heard.next())["event"])
        assert names[-2:] == ["reset", "text"] and {*names[:-2]} <= {"status", "progress"}
        assert one["data"] == {"attempt": 2, "offset": 0, "text": "Twice", "text_cut": False}
        api.hand.finish(claimed)
        assert heard.rest()[-1]["event"] == "done"


def test_the_log_so_far_is_told_as_it_grows(api):
    """Beside the text; another attempt's begins at 0. `GET .../logs` shows as much of an attempt that runs."""
    from tests.tasks.ledger.conftest import AWAY

    def piece(attempt: int, offset: int, text: str, cut: bool = False) -> dict:
        return {"attempt": attempt, "offset": offset, "text": text, "log_cut": cut}

    job = api.submit()
    claimed = api.hand.claim()
    report = api.hand.ledger.report
    report(job["id"], claimed.token, log="one é\n", log_at=0)
    with api.stream(events_of(job)) as heard:
        assert heard.next()["data"]["log"] == piece(1, 0, "one é\n")
        report(job["id"], claimed.token, text="Once", text_at=0, log="two\n", log_at=7)
        assert [heard.next(), heard.next()] == [
            {"event": "text", "data": {"attempt": 1, "offset": 0, "text": "Once", "text_cut": False}},
            {"event": "log", "data": piece(1, 7, "two\n")},
        ]
        assert api.ask("GET", f"/v1/jobs/{job['id']}/logs").text == "one é\ntwo\n"
        report(job["id"], claimed.token, log="x" * 65536, log_at=11)
        assert heard.next()["data"] == piece(1, 11, "", cut=True)
        api.hand.ledger.fail(job["id"], claimed.token, AWAY)
        claimed = api.hand.claim()
        assert api.ask("GET", f"/v1/jobs/{job['id']}/logs").text == ""
        report(job["id"], claimed.token, log="again\n", log_at=0)
        while (one := heard.next())["event"] == "status":
            pass
        assert one == {"event": "log", "data": piece(2, 0, "again\n")}
        api.hand.finish(claimed)
        assert heard.rest()[-1]["event"] == "done"


def test_a_retry_is_told_with_its_time(api):
    """The status goes back to queued, and says when the next attempt is due."""
    from tests.tasks.ledger.conftest import AWAY

    job = api.submit()
    claimed = api.hand.claim()
    with api.stream(events_of(job)) as heard:
        assert heard.next()["data"]["job"]["status"] == "running"
        api.hand.ledger.fail(job["id"], claimed.token, AWAY, delay_s=60)
        told = heard.next()["data"]
        assert told["status"] == "queued" and told["attempt"] == 1 and told["retry_at"]
        api.ask("POST", job["links"]["cancel"])
        assert heard.next()["data"]["status"] == "canceled"


def test_a_change_of_a_job_that_waits_is_told(api):
    """To those who listen to the job, and to those who listen to all: the status is as it was."""
    job = api.submit()
    with api.stream("/v1/events") as all_jobs, api.stream(events_of(job)) as heard:
        assert all_jobs.next().keys() == {"id"} and heard.next()["data"]["job"]["amended_at"] is None
        changed = api.ask("PATCH", job["links"]["self"], json={"priority": 3}).json()
        told = heard.next()
        assert (told["event"], told["data"]["status"]) == ("status", "queued")
        assert told["data"]["amended_at"] == changed["amended_at"]
        of_all = all_jobs.next()["data"]
        assert (of_all["id"], of_all["status"], of_all["amended"]) == (job["id"], "queued", True)
        later = {"start_at": in_seconds(3600)}
        assert api.ask("PATCH", job["links"]["self"], json=later).json()["status"] == "scheduled"
        assert heard.next()["data"]["status"] == "scheduled"
        of_all = all_jobs.next()["data"]
        assert (of_all["status"], of_all["amended"]) == ("scheduled", False)


def test_a_stream_is_refused_as_the_job_itself_is(api):
    """By the key, by the tenant, by the id; and a query that is not read."""
    job = api.submit()
    assert httpx.get(api.url + events_of(job), trust_env=False).status_code == 401
    assert api.ask("GET", events_of(job), "rival").status_code == 404
    assert api.ask("GET", f"/v1/jobs/{job['id'][:-1]}0/events").status_code in (404, 410)
    assert api.ask("GET", events_of(job) + "?since=1").status_code == 422
    api.ask("POST", job["links"]["cancel"])
    api.ask("DELETE", job["links"]["self"])
    assert api.ask("GET", events_of(job)).status_code in (404, 410)


def test_head_is_answered_at_once_and_accept_changes_nothing(api):
    """Pages of an allowed origin may read the stream."""
    job = api.submit()
    head = api.ask("HEAD", events_of(job))
    assert head.status_code == 200 and head.headers["Content-Type"].startswith("text/event-stream")
    with api.stream(events_of(job), Accept="application/json", Origin=ORIGIN) as heard:
        assert heard.next()["event"] == "snapshot"
        assert heard.answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    api.ask("POST", job["links"]["cancel"])


def test_beyond_a_limit_a_stream_is_refused_and_a_place_is_free_again(api):
    """A tenant's own limit, then the process's; each is said, and a listener that left counts no more."""
    job, other = api.submit(), api.submit("rival")
    with contextlib.ExitStack() as open_streams:
        mine = [open_streams.enter_context(api.stream(events_of(job))) for _ in range(OF_A_TENANT)]
        assert {heard.next()["event"] for heard in mine} == {"snapshot"}
        refused = api.ask("GET", events_of(job))
        assert refused.status_code == 429 and f"{OF_A_TENANT} of your event streams" in refused.json()["detail"]
        assert refused.headers["Retry-After"] == "5"
        theirs = open_streams.enter_context(api.stream(events_of(other), "rival"))
        assert theirs.next()["event"] == "snapshot"
        full = api.ask("GET", events_of(other), "rival")
        assert full.status_code == 503 and f"{IN_ALL} event streams" in full.json()["detail"]
        assert api.ask("GET", job["links"]["self"]).status_code == 200
    until(lambda: is_admitted(api, job), 5, "the places are free")
    for left, who in ((job, "acme"), (other, "rival")):
        api.ask("POST", left["links"]["cancel"], who)


def is_admitted(api: Api, job: dict) -> bool:
    with api.stream(events_of(job)) as heard:
        return heard.answer.status_code == 200


def test_a_tenant_hears_each_change_of_its_jobs_and_of_no_others(api):
    """With kind, model and time; a filter leaves the others out."""
    with api.stream("/v1/events") as heard, api.stream("/v1/events?status=canceled&kind=generate") as canceled:
        assert heard.next().keys() == canceled.next().keys() == {"id"}
        api.submit("rival")
        job = api.submit()
        api.ask("POST", job["links"]["cancel"])
        told = [heard.next(), heard.next()]
        assert [(one["event"], one["data"]["id"], one["data"]["status"]) for one in told] == [
            ("status", job["id"], "queued"),
            ("status", job["id"], "canceled"),
        ]
        data = told[0]["data"]
        assert (data["kind"], data["model"], data["tenant"]) == ("generate", job["model"], "acme")
        assert data["at"][:10] == job["created_at"][:10] and told[0]["id"] < told[1]["id"]
        assert canceled.next() == told[1]


def test_a_listener_that_comes_back_misses_nothing_or_is_told(api):
    """By the id of its last event; a reset where the stream no longer has what was behind it."""
    with api.stream("/v1/events") as heard:
        begin = heard.next()["id"]
    missed = [api.submit()["id"] for _ in range(3)]
    with api.stream("/v1/events", **{"Last-Event-ID": begin}) as heard:
        told = [heard.next() for _ in missed]
        assert [one["data"]["id"] for one in told] == missed
        missed.append(api.submit()["id"])
        assert heard.next()["data"]["id"] == missed[-1]
    with api.stream("/v1/events", **{"Last-Event-ID": told[1]["id"]}) as heard:
        assert [heard.next()["data"]["id"] for _ in missed[2:]] == missed[2:]
    api.hand.ledger.redis.xtrim(keys.EVENTS, minid=told[2]["id"], approximate=False)
    with api.stream("/v1/events", **{"Last-Event-ID": told[0]["id"]}) as heard:
        reset = heard.next()
        assert reset["event"] == "reset" and "list the jobs" in reset["data"]["detail"]
        job = api.submit()
        assert heard.next()["data"]["id"] == job["id"]
    refused = api.ask("GET", "/v1/events", headers={"Last-Event-ID": "yesterday"})
    assert refused.status_code == 400 and "Last-Event-ID" in refused.json()["detail"]


def test_at_its_end_a_process_asks_all_listeners_to_come_back(api):
    """Within two seconds, those that read nothing included; the last test here, for the process is gone."""
    job = api.submit()
    with api.stream(events_of(job)) as heard, api.stream(events_of(job)) as other, ThreadPoolExecutor(1) as pool:
        assert heard.next()["event"] == other.next()["event"] == "snapshot"
        began = time.monotonic()
        rest = pool.submit(heard.rest)
        api.process.signal(signal.SIGTERM)
        (last,) = rest.result(20)
        assert set(last) == {"retry"} and int(last["retry"]) > 0
        assert time.monotonic() - began < 2 + 3  # a busy machine is no reason to fail
    until(lambda: not api.process.alive)
