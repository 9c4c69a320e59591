"""Many jobs at once by the client and by `backlot batches submit`, against the API in this process."""

import json

import httpx
import pytest
from click.testing import CliRunner

from api.client import ApiError, Client, cli, credentials, sender
from tasks.ledger import keys
from tests.api.client.test_client import Shaky
from tests.api.conftest import PROMPT


@pytest.fixture
def transport(app) -> Shaky:
    return Shaky(app)


@pytest.fixture
def acme(app, caller, transport, monkeypatch) -> Client:
    monkeypatch.setattr(sender.time, "sleep", lambda seconds: None)
    return Client("http://api", caller("acme").key, transport=transport)


def test_requests_are_lines_and_an_answer_that_was_lost_makes_each_job_once(acme, transport, ledger):
    transport.lose = 2
    outcomes = acme.submit_batch({**PROMPT, "priority": number} for number in range(5))
    assert [outcome["line"] for outcome in outcomes] == [1, 2, 3, 4, 5]
    ids = [outcome["job"]["id"] for outcome in outcomes]
    assert len(transport.seen) == 3 and ids == ledger.redis.zrange(keys.tenant_jobs("acme"), 0, -1)
    assert [acme.get(job_id)["priority"] for job_id in ids] == [0, 1, 2, 3, 4]


def test_a_refusal_of_the_whole_is_raised(acme):
    with pytest.raises(ApiError) as raised:
        acme.submit_batch(b"\xff")
    assert (raised.value.status, raised.value.code) == (400, "malformed")


@pytest.mark.parametrize("body", ["<html>", "1\n2\n"])
def test_an_answer_of_another_service_is_an_api_error(acme, body, monkeypatch):
    answer = httpx.Response(200, text=body, request=httpx.Request("POST", "http://api/v1/batches"))
    monkeypatch.setattr(acme._sender.http, "post", lambda *_, **__: answer)
    with pytest.raises(ApiError, match="not Backlot's API"):
        acme.submit_batch([PROMPT])


class TestCommandLine:
    @pytest.fixture
    def run(self, acme, monkeypatch):
        monkeypatch.setattr(credentials, "Client", lambda *_, **__: acme)
        monkeypatch.setenv("BACKLOT_API_KEY", "read by nobody here")

        def run(*words: str, status: int = 0, **more):
            result = CliRunner().invoke(cli.main, ["batches", "submit", *words], **more)
            assert result.exit_code == status, result.output
            return result

        return run

    def test_a_file_is_submitted_line_by_line_and_refusals_are_told(self, run, acme, tmp_path):
        """The outcomes on standard output, words for a person beside; a refused line makes the exit status 1."""
        file = tmp_path / "lines.jsonl"
        file.write_text(f"{json.dumps(PROMPT)}\n\n{json.dumps({**PROMPT, 'urgent': 1})}\n")
        told = run(str(file), status=1)
        made, refused = map(json.loads, told.stdout.splitlines())
        assert acme.get(made["job"]["id"])["status"] == "queued" and (made["line"], refused["line"]) == (1, 3)
        assert "line 3: invalid_input: /urgent" in told.stderr and "1 accepted, 1 refused" in told.stderr

    def test_standard_input_with_a_key_of_ones_own(self, run, ledger):
        line = json.dumps(PROMPT).encode()
        for _ in range(2):
            told = run("-", "--idempotency-key", "reel-1", input=line)
        assert json.loads(told.stdout)["job"]["id"] in ledger.redis.zrange(keys.tenant_jobs("acme"), 0, -1)
        assert ledger.redis.zcard(keys.tenant_jobs("acme")) == 1

    def test_many_refusals_are_not_all_told_in_words(self, run):
        told = run("-", status=1, input=b"{\n" * 500)
        assert len(told.stdout.splitlines()) == 500 and len(told.stderr.splitlines()) == 21
