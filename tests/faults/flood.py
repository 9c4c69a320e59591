"""11. One tenant submits thousands of jobs, another one job now and then; and quotas."""

import statistics
import threading
import time
from datetime import datetime

import httpx

from tests.faults import work
from tests.faults.accounts import Books
from tests.faults.place import Place
from tests.faults.scenario import scenario


def _starts(books: Books, count: int) -> float:
    """p95 of the seconds from acceptance to the start, of jobs that come one after the other."""
    waited = []
    for _ in range(count):
        job_id = books.submit(work.noop("cpu"))
        books.wait([job_id], 120)
        job = books.get(job_id)
        created, started = (datetime.fromisoformat(job[name]).timestamp() for name in ("created_at", "started_at"))
        waited.append(started - created)
    return statistics.quantiles(waited, n=20, method="inclusive")[-1]


@scenario("11a", "one tenant floods a queue; another submits one job at a time")
def flood(place: Place, size: int) -> str:
    """By the fair tags of claim the other's job is next but for what runs already."""
    many = 10_000 if size >= 40 else 300
    other = place.new_books("small")
    alone = _starts(other, 20)
    place.books.submit_all([work.sleep("cpu", 0.02) for _ in range(min(many, 500))])
    more = [work.sleep("cpu", 0.02)] * (many - 500)
    rest = threading.Thread(target=place.books.submit_all, args=(more,), daemon=True)
    rest.start()
    time.sleep(1)
    beside = _starts(other, 20)
    rest.join(600)
    place.books.wait(deadline_s=900)
    lost = other.account()
    assert not lost.lost and not lost.twice, "the small tenant lost jobs"
    assert beside < alone + 1.5, f"p95 {beside:.2f} s beside the flood, {alone:.2f} s without"
    return (
        f"{many:,} jobs beside it; the other's p95 to the start: {alone * 1000:.0f} ms without, "
        f"{beside * 1000:.0f} ms with"
    )


@scenario("11b", "quotas: submits a minute, waiting jobs and stored bytes are refused with 429")
def quotas(place: Place, size: int) -> str:
    with place.stack.api(submits_per_minute=10, max_waiting_jobs=5) as api:
        books = place.new_books("limited")
        books._http.base_url = api.url
        answers = [books._http.post("/v1/jobs", json=work.noop("cpu")) for _ in range(14)]
    refused = [answer for answer in answers if answer.status_code == 429]
    for answer in answers:
        if answer.status_code == 202:
            books.note(answer.json())
    books._http.base_url = books.url
    done = books.account()
    assert refused and not done.lost and not done.twice
    assert all(answer.headers.get("Retry-After") for answer in refused), "429 without Retry-After"
    assert any("RateLimit" in answer.headers for answer in answers), "no RateLimit field"
    full = _stored(place)
    said = [answer.json()["detail"] for answer in (refused[0], full)]
    return f"{len(refused)} of {len(answers)} refused: {said[0]!r}; and: {said[1]!r}"


def _stored(place: Place) -> httpx.Response:
    """The answer to who has more in the bucket than it may."""
    with place.stack.api(max_stored_bytes=1000) as api:
        books = place.new_books("hoarder")
        books._http.base_url = api.url
        books.wait([books.submit(work.files("cpu", "x" * 2000))], 60)
        answer = books._http.post("/v1/jobs", json=work.noop("cpu"))
        books._http.base_url = books.url
    done = books.account()
    assert answer.status_code == 429 and answer.headers.get("Retry-After"), answer.text
    assert not done.lost and not done.twice
    return answer
