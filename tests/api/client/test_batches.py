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
    batch = acme.submit_batch({**PROMPT, "priority": number} for number in range(5))
    told = acme.batch_results(batch["id"])
    assert [one["line"] for one in told] == [1, 2, 3, 4, 5] and acme.batch_results(batch["id"], after=3) == told[3:]
    ids = [one["job"]["id"] for one in told]
    assert len(transport.seen) == 5 and ids == ledger.redis.zrange(keys.tenant_jobs("acme"), 0, -1)
    assert [acme.get(job_id)["priority"] for job_id in ids] == [0, 1, 2, 3, 4]


def test_a_batch_is_followed_canceled_and_erased(acme):
    batch = acme.submit_batch([{"input": {"prompt": "a"}}] * 3, on_error="reject", defaults={"kind": "generate"})
    assert acme.batch(batch["id"]) == batch and [one["id"] for one in acme.batches(limit=1)] == [batch["id"]]
    assert acme.cancel_batch(batch["id"])["counts"]["canceled"] == 3
    acme.delete_batch(batch["id"])
    with pytest.raises(ApiError, match="there is no batch"):
        acme.batch(batch["id"])


def test_a_refusal_of_the_whole_is_raised(acme):
    with pytest.raises(ApiError) as raised:
        acme.submit_batch(b"\xff")
    assert (raised.value.status, raised.value.code) == (400, "malformed")


@pytest.mark.parametrize("body", ["<html>", "1"])
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
            result = CliRunner().invoke(cli.main, ["batches", *words], **more)
            assert result.exit_code == status, result.output
            return result

        return run

    def test_a_file_is_submitted_and_refusals_are_told(self, run, acme, tmp_path):
        """The batch on standard output, words for a person beside; a refused line makes the exit status 1."""
        file = tmp_path / "lines.jsonl"
        file.write_text(f"{json.dumps(PROMPT)}\n\n{json.dumps({**PROMPT, 'urgent': 1})}\n")
        told = run("submit", str(file), status=1)
        batch = json.loads(told.stdout)
        assert acme.batch(batch["id"])["counts"]["queued"] == 1
        assert "line 3: invalid_input: /urgent" in told.stderr and "1 accepted, 1 refused" in told.stderr
        made, refused = map(json.loads, run("results", batch["id"]).stdout.splitlines())
        assert (made["line"], made["job"]["status"], refused["error"]["code"]) == (1, "queued", "invalid_input")
        assert batch["id"] in run("list").stdout
        assert json.loads(run("cancel", batch["id"]).stdout)["done"]
        assert json.loads(run("get", batch["id"]).stdout)["counts"]["canceled"] == 1
        run("delete", batch["id"])
        run("get", batch["id"], status=1)

    def test_standard_input_with_a_key_of_ones_own(self, run, ledger):
        ids = {
            json.loads(run("submit", "-", "--idempotency-key", "reel-1", input=json.dumps(PROMPT).encode()).stdout)[
                "id"
            ]
            for _ in range(2)
        }
        assert len(ids) == 1 and ledger.redis.zcard(keys.tenant_jobs("acme")) == 1

    def test_many_refusals_are_not_all_told_in_words(self, run):
        told = run("submit", "-", status=1, input=b"{\n" * 500)
        assert json.loads(told.stdout)["refused"] == 500 and len(told.stderr.splitlines()) == 21

    def test_defaults_are_an_object(self, run):
        run("submit", "-", "--defaults", "[]", status=2, input=b"{}")
