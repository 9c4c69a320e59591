"""Requests that wait for a job, `Prefer: wait`, at a real server: what holds them, what ends them, how many may."""

import contextlib
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from api import keyfile
from tests.api.conftest import PROMPT
from tests.stack import until

HELD, OF_A_TENANT = 30, 20


@pytest.fixture
def server(stack, ledger, settings):
    """A client of acme's; four threads, so two for a tenant."""
    keys = {name: keyfile.add(settings.keys_file, name) for name in ("acme", "rival")}
    with (
        stack.api(http_threads=4, http_held=HELD, http_held_per_tenant=OF_A_TENANT) as process,
        contextlib.ExitStack() as clients,
    ):
        made = {
            name: clients.enter_context(
                httpx.Client(
                    base_url=process.url,
                    trust_env=False,
                    timeout=60,
                    headers={"Authorization": f"Bearer {key}"},
                    limits=httpx.Limits(max_connections=100),
                )
            )
            for name, key in keys.items()
        }
        made["acme"].process, made["acme"].rival = process, made["rival"]
        yield made["acme"]


@pytest.fixture
def waiting():
    """Sends requests that wait, each from a thread of its own."""
    with ThreadPoolExecutor(64) as pool:

        def start(client: httpx.Client, path: str, count: int, wait_s: int = 40):
            return [pool.submit(client.get, path, headers={"Prefer": f"wait={wait_s}"}) for _ in range(count)]

        yield start


def held(process) -> int:
    """How many are held, as /metrics tells, which is a second old at most."""
    url = re.search(r"metrics at (http://\S+)", process.log())[1]
    page = httpx.get(url, trust_env=False).text
    return int(float(re.search(r"^backlot_http_held_requests (\S+)", page, re.MULTILINE)[1]))


def test_a_held_request_has_no_thread_and_no_connection(server, waiting, ledger):
    """More wait than there are threads; everybody else is answered."""
    job = server.post("/v1/jobs", json=PROMPT).json()
    for _ in range(20):
        server.get("/v1/jobs")
    before = len(ledger.redis.client_list())
    answers = waiting(server, job["links"]["self"], OF_A_TENANT)
    until(lambda: held(server.process) == OF_A_TENANT)
    assert server.get("/healthz").status_code == server.get(job["links"]["self"]).status_code == 200
    assert len(ledger.redis.client_list()) <= before + 5  # the reader's, and one of each thread at most
    server.post(job["links"]["cancel"])
    for answer in (one.result() for one in answers):
        assert answer.headers["Preference-Applied"] == "wait=40" and answer.json()["status"] == "canceled"


def test_a_submit_that_waits_answers_as_a_submit(server):
    """202 and Location as without the wait, the job as it is at the end; without Retry-After once it is done."""
    short = server.post("/v1/jobs", json=PROMPT, headers={"Prefer": "wait=1; x=y"})
    assert short.status_code == 202 and short.headers["Preference-Applied"] == "wait=1"
    assert short.headers["Retry-After"] and short.json()["status"] == "queued"
    key = {"Idempotency-Key": "one"}
    job = server.post("/v1/jobs", json=PROMPT, headers=key).json()
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(server.post, "/v1/jobs", json=PROMPT, headers={**key, "Prefer": "wait=40"})
        until(lambda: held(server.process) == 1)
        server.post(job["links"]["cancel"])
        answer = again.result()
    assert answer.status_code == 202 and answer.headers["Location"] == job["links"]["self"]
    assert answer.json()["status"] == "canceled" and answer.headers["Idempotency-Replayed"] == "true"
    assert "Retry-After" not in answer.headers and int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_wait_is_cut_to_the_most_that_the_operator_grants(stack, ledger, settings):
    """The answer says for how long it may have waited, and shows the job as it is."""
    key = keyfile.add(settings.keys_file, "acme")
    headers = {"Authorization": f"Bearer {key}", "Prefer": "respond-async, wait=600"}
    with stack.api(max_wait_s=1) as process:
        answer = httpx.post(f"{process.url}/v1/jobs", json=PROMPT, headers=headers, trust_env=False)
    assert answer.json()["status"] == "queued" and answer.headers["Preference-Applied"] == "wait=1"


def test_beyond_a_limit_the_answer_comes_at_once(server, waiting):
    """A tenant's own limit, then the process's: not applied, and the header says so by its absence."""
    job, other = (one.post("/v1/jobs", json=PROMPT).json() for one in (server, server.rival))
    path = job["links"]["self"]
    mine = waiting(server, path, OF_A_TENANT)
    until(lambda: held(server.process) == OF_A_TENANT)
    beyond = server.get(path, headers={"Prefer": "wait=40"})
    assert beyond.status_code == 200 and "Preference-Applied" not in beyond.headers
    theirs = waiting(server.rival, other["links"]["self"], HELD - OF_A_TENANT)
    until(lambda: held(server.process) == HELD)
    assert "Preference-Applied" not in server.rival.get(other["links"]["self"], headers={"Prefer": "wait=40"}).headers
    server.post(job["links"]["cancel"])
    server.rival.post(other["links"]["cancel"])
    assert all(one.result().headers["Preference-Applied"] == "wait=40" for one in mine + theirs)


def test_a_client_that_left_frees_its_place(server):
    """Noticed within two seconds."""
    job = server.post("/v1/jobs", json=PROMPT).json()
    for _ in range(5):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(
                server.base_url.join(job["links"]["self"]),
                timeout=httpx.Timeout(10, read=0.5),
                headers={**server.headers, "Prefer": "wait=40"},
                trust_env=False,
            )
    until(lambda: held(server.process) == 0, 4, "all places are free")  # /metrics itself is a second behind
    short = server.get(job["links"]["self"], headers={"Prefer": "wait=1"})
    assert short.headers["Preference-Applied"] == "wait=1"


def test_an_erased_job_ends_the_wait(server, waiting):
    """Whoever looks at it learns that it is gone."""
    job = server.post("/v1/jobs", json=PROMPT).json()
    (answer,) = waiting(server, job["links"]["self"], 1)
    until(lambda: held(server.process) == 1)
    server.post(job["links"]["cancel"])
    server.delete(job["links"]["self"])
    assert answer.result().status_code in (200, 410)


def test_a_process_that_is_asked_to_stop_answers_all_who_wait(server, waiting):
    """At once, with the job as it is; and the process ends within its grace."""
    job = server.post("/v1/jobs", json=PROMPT).json()
    answers = waiting(server, job["links"]["self"], OF_A_TENANT)
    until(lambda: held(server.process) == OF_A_TENANT)
    server.process.signal(signal.SIGTERM)
    assert {one.result(10).json()["status"] for one in answers} == {"queued"}
    until(lambda: not server.process.alive)


def test_a_killed_process_is_replaced_and_the_others_go_on(stack, ledger, settings):
    """kill -9 of one of two: the other answers meanwhile, a new one comes; with the parent killed none is left."""
    keyfile.add(settings.keys_file, "acme")
    with stack.api(processes=2) as process:

        def workers() -> set[int]:
            return {
                child.pid
                for child in psutil.Process(process.pid).children()
                if lives(child.pid) and any("spawn_main" in word for word in child.cmdline())
            }

        until(lambda: len(workers()) == 2)
        first = workers()
        os.kill(min(first), signal.SIGKILL)
        until(lambda: len(workers() - first) == 1 and workers() & first, 20, "a new process beside the old")
        until(lambda: answers(process.url, 20))
        second = workers()
        process.kill()
        until(lambda: not any(map(lives, second)), 20, "no process outlives its parent")


def lives(pid: int) -> bool:
    """And has not ended with nobody to take note of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def answers(url: str, times: int) -> bool:
    """On so many connections, which both processes share."""
    with contextlib.suppress(httpx.TransportError):
        return all(httpx.get(f"{url}/healthz", trust_env=False).status_code == 200 for _ in range(times))
    return False


def test_the_header_is_read_as_rfc_7240_writes_it(server):
    """Parameters and quoted texts included."""
    job = server.post("/v1/jobs", json=PROMPT).json()
    for header, applied in (
        ("wait=0; x=y", "wait=0"),
        ('foo="a, wait=40", wait = "0"', "wait=0"),
        ("WAIT=0", "wait=0"),
        ("respond-async", "respond-async"),
        ("return=minimal;wait=0", None),
        ("wait=-1", None),
        ("wait=0x", None),
        ('"' * 3000, None),
    ):
        answer = server.get(job["links"]["self"], headers={"Prefer": header})
        assert answer.headers.get("Preference-Applied") == applied, header
