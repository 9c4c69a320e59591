"""When a fetch is given up: who is silent, drips or takes too long; and a stop, heard whatever is waited for."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.bucket.fetch import fetch
from tasks.bucket.storage import Storage
from tasks.errors import Canceled, InputUnreachable


@pytest.fixture
def get(settings, tmp_path):
    """get(url) fetches at most 1000 bytes; the file's content."""

    def get(source, canceled=lambda: False, within_s=None, **changes):
        target, told = tmp_path / "input", settings.model_copy(update=changes)
        fetch(
            source,
            target,
            tenant="acme",
            max_bytes=1000,
            settings=told,
            storage=Storage(told),
            uploads={},
            canceled=canceled,
            within_s=within_s,
        )
        return target.read_bytes()

    return get


def test_a_server_that_does_not_answer_is_given_up(web, get, monkeypatch):
    monkeypatch.setattr("tasks.bucket.fetch.READ_S", 0.2)
    never = threading.Event()
    with pytest.raises(InputUnreachable, match="in time") as caught:
        get(web.does("/slow", lambda request: never.wait(5)) + "?secret=1")
    assert caught.value.retryable and "secret" not in caught.value.detail
    never.set()


def drip(request, enough):
    """A head at once, then a byte now and then."""
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        while not enough.wait(0.05):
            request.wfile.write(b".")


def test_a_server_that_drips_is_given_up_after_the_overall_limit(web, get, monkeypatch):
    """Each byte comes in time; all of them would take a minute."""
    monkeypatch.setattr("tasks.bucket.fetch.OVERALL_S", 0.3)
    enough = threading.Event()
    with pytest.raises(InputUnreachable, match=r"longer than the 0\.3 s") as caught:
        get(web.does("/drip", lambda request: drip(request, enough)))
    assert caught.value.retryable
    enough.set()


def test_a_cancel_stops_the_fetch(web, get):
    with pytest.raises(Canceled):
        get(web.gives("/a", b"x" * 500), canceled=lambda: True)


def test_a_body_that_drips_is_given_up_for_its_speed(web, get, monkeypatch):
    """Each byte comes in time, and there is time enough for all; the error names the speed that is wanted."""
    monkeypatch.setattr("tasks.bucket.fetch.SLOW_S", 0.3)
    enough = threading.Event()
    with pytest.raises(InputUnreachable, match=r"less than 1,000 bytes a second on average of 0\.3 s") as caught:
        get(web.does("/drip", lambda request: drip(request, enough)) + "?secret=1")
    assert caught.value.retryable and "secret" not in caught.value.detail
    enough.set()


def test_a_slow_body_above_the_lowest_speed_is_read_to_its_end(web, get, monkeypatch):
    """Several of the spans that are looked at, each with more than enough bytes."""
    monkeypatch.setattr("tasks.bucket.fetch.SLOW_S", 0.1)
    monkeypatch.setattr("tasks.bucket.fetch.LOWEST_BYTES_S", 100)

    def slowly(request):
        request.send_response(200)
        request.end_headers()
        for _ in range(20):
            request.wfile.write(b"x" * 40)
            threading.Event().wait(0.02)

    assert get(web.does("/slow", slowly)) == b"x" * 800


def test_a_head_that_drips_is_given_up(web, get, monkeypatch):
    """A header a moment, for ever: no read takes long, the answer never begins."""
    monkeypatch.setattr("tasks.bucket.fetch.HEAD_S", 0.5)
    enough = threading.Event()

    def heads(request):
        with contextlib.suppress(OSError):
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not enough.wait(0.02):
                request.wfile.write(b"X-More: y\r\n")

    with pytest.raises(InputUnreachable, match=r"did not answer in time: 0\.5 s") as caught:
        get(web.does("/heads", heads))
    assert caught.value.retryable
    enough.set()


def test_a_limit_of_the_callers_is_kept_and_named(web, get):
    """A model's own limit for fetching takes the place of the usual one."""
    never = threading.Event()
    with pytest.raises(InputUnreachable, match=r"longer than the 0\.4 s allowed"):
        get(web.does("/slow", lambda request: never.wait(5)), within_s=0.4)
    never.set()


@pytest.mark.parametrize("place", ["resolver", "connect", "tls", "head", "body", "dripping body"])
def test_a_fetch_hears_a_stop_whatever_it_waits_for(get, monkeypatch, place):
    """What it waits for never comes, and every limit of time is far away."""
    over, waits, stop = threading.Event(), threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(over.set)
        url = _silent(place, stack, monkeypatch, waits, over)
        with ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(get, url, canceled=stop.is_set, fetch_allow=["127.0.0.1", "films.example"])
            assert waits.wait(10), "the fetch does not wait where it should"
            stop.set()
            with pytest.raises(Canceled):
                fetching.result(10)
            over.set()


def _silent(place, stack, monkeypatch, waits, over) -> str:
    """A URL whose fetch comes to this place and no further; `waits` is set once it is there."""
    if place == "resolver":
        monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: [waits.set(), over.wait(20), "127.0.0.1"][2:])
        return "https://films.example/"
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    url = f"127.0.0.1:{listener.getsockname()[1]}/"
    if place == "connect":  # the queue of the listener is full, so a connect is answered by nobody
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        monkeypatch.setattr("tasks.bucket.fetch.CONNECT_S", 60)
        waits.set()
        return "http://" + url
    said = {
        "tls": None,
        "head": b"",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "dripping body": b"HTTP/1.1 200 OK\r\n\r\n",
    }[place]

    def serve_one():
        line, _ = listener.accept()
        with line, contextlib.suppress(OSError):
            line.recv(4096)
            line.sendall(said or b"")
            waits.set()
            while not over.wait(0.05):
                line.sendall(b"." if place == "dripping body" else b"")

    threading.Thread(target=serve_one, daemon=True).start()
    return ("https://" if place == "tls" else "http://") + url


def test_a_fetch_from_a_bucket_hears_a_stop(get, monkeypatch):
    """boto3 itself hears nothing until its own limits."""
    over, waits, stop = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(Storage, "get_file", lambda *_, **__: [waits.set(), over.wait(20)])
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(get, "s3://elsewhere/a.wav", canceled=stop.is_set, s3_sources={"acme": ["elsewhere/"]})
        assert waits.wait(10)
        stop.set()
        with pytest.raises(Canceled):
            fetching.result(10)
        over.set()
