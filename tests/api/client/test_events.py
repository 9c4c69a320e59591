"""Events as the client reads them: a stream that breaks off is opened again, until the job is done."""

import json

import pytest
from click.testing import CliRunner

from api.client import ApiError, Client, cli
from api.client.events import Stream


def test_an_event_ends_with_a_blank_line_and_all_else_is_skipped():
    """Comments, ids, unknown fields, an event without its end."""
    lines = [
        ": beat",
        "",
        "id: 5-1",
        "event: status",
        "data: {}",
        "",
        "retry: 50",
        "data:a",
        "data: b",
        "odd",
        "",
        "data: cut",
    ]
    stream = Stream()
    assert list(stream.events(lines)) == [("status", "{}"), ("message", "a\nb")]
    assert stream.retry_s == 0.05


@pytest.fixture
def answers(web):
    """Gives the bodies of a job's streams, one a request, then 410."""

    def log(request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/plain; charset=utf-8")
        request.end_headers()
        request.wfile.write("one é\ntwo\nthree\n".encode())

    def give(*bodies: bytes):
        left = list(bodies)

        def answer(request) -> None:
            request.send_response(200 if left else 410)
            request.send_header("Content-Type", "text/event-stream" if left else "application/problem+json")
            request.end_headers()
            request.wfile.write(left.pop(0) if left else b'{"code": "gone", "detail": "it was erased"}')

        web.does("/v1/jobs/job_1/events", answer)
        web.does("/v1/jobs/job_1/logs", log)
        return Client(web.url, "a-key")

    return give


SNAPSHOT = b'event: snapshot\ndata: {"job": {"id": "job_1"}}\n\n'
DONE = b'event: done\ndata: {"id": "job_1", "status": "succeeded", "done": true, "error": null}\n\n'


def test_a_stream_that_breaks_off_is_opened_again(answers, web):
    client = answers(SNAPSHOT + b"retry: 1\n\nevent: prog", SNAPSHOT + DONE)
    assert [name for name, _ in client.events("job_1")] == ["snapshot", "snapshot", "done"]
    assert len(web.seen) == 2 and web.seen[0][1]["Authorization"] == "Bearer a-key"


def test_an_erased_job_ends_the_events_with_the_apis_refusal(answers):
    heard = answers(b"retry: 1\n\n" + SNAPSHOT).events("job_1")
    assert next(heard) == ("snapshot", {"job": {"id": "job_1"}})
    with pytest.raises(ApiError, match="it was erased"):
        next(heard)


def test_what_is_no_stream_of_events_is_not_the_apis(web):
    web.gives("/v1/jobs/job_1/events", b"<html>", content_type="text/html")
    with pytest.raises(ApiError, match="is not Backlot's API"):
        next(Client(web.url, "a-key").events("job_1"))


def test_the_command_prints_a_line_an_event(answers, monkeypatch, web):
    """And its exit status is that of the job."""
    answers(SNAPSHOT + DONE, SNAPSHOT + DONE.replace(b"succeeded", b"canceled"))
    monkeypatch.setenv("BACKLOT_API_KEY", "a-key")
    shown = CliRunner().invoke(cli.main, ["--url", web.url, "events", "job_1"])
    assert [json.loads(line)["event"] for line in shown.stdout.splitlines()] == ["snapshot", "done"]
    assert shown.exit_code == 0
    assert CliRunner().invoke(cli.main, ["--url", web.url, "events", "job_1"]).exit_code == 4


def logged(attempt: int, offset: int, text: str) -> bytes:
    data = json.dumps({"attempt": attempt, "offset": offset, "text": text, "log_cut": False})
    return f"event: log\ndata: {data}\n\n".encode()


def test_a_log_is_followed_through_a_stream_that_breaks_off(answers):
    """What was told is not told again, and the end has what was not told."""
    again = json.dumps(
        {"job": {"id": "job_1"}, "log": {"attempt": 2, "offset": 0, "text": "one é\ntwo\n", "log_cut": False}}
    )
    first = SNAPSHOT + logged(1, 0, "old\n") + logged(2, 0, "one é\n") + b"retry: 1\n\n"
    client = answers(first, f"event: snapshot\ndata: {again}\n\n".encode() + DONE)
    assert list(client.follow_logs("job_1")) == ["old\n", "one é\n", "two\n", "three\n"]
    assert client.logs("job_1", attempt=2) == "one é\ntwo\nthree\n"


def test_the_command_line_prints_a_log(answers, web, monkeypatch):
    answers(SNAPSHOT + logged(1, 0, "one é\n") + DONE)
    monkeypatch.setenv("BACKLOT_API_KEY", "a-key")
    for more in ([], ["--follow"]):
        printed = CliRunner().invoke(cli.main, ["--url", web.url, "logs", "job_1", *more])
        assert (printed.exit_code, printed.stdout) == (0, "one é\ntwo\nthree\n")
    refused = CliRunner().invoke(cli.main, ["--url", web.url, "logs", "job_1", "--follow", "--attempt", "1"])
    assert refused.exit_code == 2 and "--attempt" in refused.output
