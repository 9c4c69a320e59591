"""The client and the command line, against the API in this process; the bucket's own URLs are real."""

import hashlib
import json

import httpx
import pytest
from click.testing import CliRunner

from api import client, keyfile
from api.client import ApiError, Client, cli, credentials, sender, terminal
from tasks.bucket.layout import attempt_prefix
from tasks.errors import WorkerLost
from tasks.job import Fixed
from tasks.ledger import keys


class Shaky(httpx.WSGITransport):
    """Loses the next `lose` answers; the requests were carried out all the same."""

    def __init__(self, app) -> None:
        super().__init__(app=app)
        self.lose = 0
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        response = super().handle_request(request)
        if self.lose:
            self.lose -= 1
            response.read()
            raise httpx.ReadError("the answer was lost")
        return response


@pytest.fixture
def transport(app) -> Shaky:
    return Shaky(app)


@pytest.fixture
def acme(app, caller, transport) -> Client:
    """A client with a key, whose connection can be made to fail."""
    return Client("http://api", caller("acme").key, transport=transport)


@pytest.fixture
def kill(hand):
    """kill(job): its only attempt is lost; its id."""

    def kill(job) -> str:
        claimed = hand.claim()
        hand.ledger.fail(claimed.fixed.id, claimed.token, WorkerLost("the process died"))
        return claimed.fixed.id

    return kill


@pytest.fixture(autouse=True)
def _no_long_sleeps(monkeypatch):
    monkeypatch.setattr(sender.time, "sleep", lambda seconds: None)


def jobs_of(ledger) -> int:
    return ledger.redis.zcard(keys.tenant_jobs("acme"))


class TestClient:
    def test_submit_wait_download(self, acme, hand, tmp_path):
        """The whole of it: a job goes in, its text comes out, checked by its SHA-256."""
        job = acme.submit("generate", {"prompt": "Once"}, params={"seed": 1}, priority=2)
        hand.finish(hand.claim(), "the end")
        done = acme.wait(job["id"], timeout=20)
        assert (done["status"], done["priority"], done["params"]) == ("succeeded", 2, {"seed": 1})
        assert acme.download(job["id"], "text.txt", tmp_path).read_text() == "the end"

    def test_a_download_of_other_bytes_is_an_error(self, acme, hand, storage, tmp_path):
        """What is saved is what the job made, or nothing."""
        job = acme.submit("generate", {"prompt": "Once"})
        hand.finish(hand.claim(), "the end")
        (made,) = storage.list(f"tenants/acme/jobs/{job['id']}/")
        storage.put_bytes(made.key, b"another", "text/plain")
        with pytest.raises(ApiError, match="SHA-256"):
            acme.download(job["id"], "text.txt", tmp_path / "text.txt")
        assert not (tmp_path / "text.txt").exists()

    def test_a_download_that_fails_stops_none_of_the_others(self, acme, hand, ledger, storage, tmp_path):
        """All that can be saved is; the error names what was not, and nothing half is left."""
        job = acme.submit("generate", {"prompt": "Once"})
        claimed = hand.claim()
        names = ["a.txt", "c#d.txt", "g?h", "100%.txt", "%2F", "e b.txt", "a\nb"]
        outputs = []
        for name in names:
            key = attempt_prefix("acme", job["id"], 1, claimed.token) + name
            storage.put_bytes(key, name.encode(), "text/plain")
            outputs.append(
                {
                    "name": name,
                    "media_type": "text/plain",
                    "bytes": len(name.encode()),
                    "key": key,
                    "sha256": hashlib.sha256(name.encode()).hexdigest(),
                }
            )
        outputs[0]["sha256"] = "0" * 64
        ledger.commit(job["id"], claimed.token, {"text": "x"}, outputs, {})
        with pytest.raises(ApiError, match=r"not downloaded: 'a\.txt'.*SHA-256"):
            list(acme.download_all(job["id"], tmp_path / "all"))
        assert {path.name: path.read_text() for path in (tmp_path / "all").iterdir()} == {
            name: name for name in names[1:]
        }
        assert acme.download(job["id"], "g?h", tmp_path).read_text() == "g?h"

    def test_a_path_is_a_file_to_send(self, acme, ledger, storage, tmp_path):
        talk = tmp_path / "talk.wav"
        talk.write_bytes(b"RIFF1234")
        job = acme.submit("transcribe", {"audio": talk}, params={"language": "en"}, metadata={"take": 1})
        (upload,) = Fixed.model_validate_json(ledger.record(job["id"])["fixed"]).uploads.values()
        assert storage.get_bytes(upload.key) == b"RIFF1234"
        assert job["params"] == {"language": "en"} and job["metadata"] == {"take": 1}

    def test_a_file_beside_json_inputs(self, acme, tmp_path):
        """Lists and numbers keep their types on the way through a form."""
        catalogue = tmp_path / "catalogue.csv"
        catalogue.write_text("id,title\n1,Alien\n")
        job = acme.submit("recommend", {"catalogue": catalogue, "history": ["1"]}, params={"k": 3}, max_attempts=1)
        assert job["input"]["history"] == ["1"] and job["params"] == {"k": 3} and job["max_attempts"] == 1

    def test_large_files_go_straight_to_the_bucket(self, acme, transport, ledger, storage, tmp_path, monkeypatch):
        """Above the limit the API sees the name alone, never the bytes."""
        monkeypatch.setattr(client, "FORM_MAX_BYTES", 10)
        talk = tmp_path / "talk.wav"
        talk.write_bytes(b"RIFF" * 5)
        job = acme.submit("transcribe", {"audio": talk})
        (upload,) = Fixed.model_validate_json(ledger.record(job["id"])["fixed"]).uploads.values()
        assert storage.get_bytes(upload.key) == b"RIFF" * 5
        assert [request.url.path for request in transport.seen] == ["/v1/uploads", "/v1/jobs"]
        assert all(b"RIFF" not in request.content for request in transport.seen)

    @pytest.mark.parametrize("as_file", [False, True])
    def test_a_submit_whose_answer_was_lost_makes_one_job(self, acme, transport, ledger, tmp_path, as_file):
        """It is sent again with the key of the first time."""
        act = tmp_path / "act.txt"
        act.write_text("Once")
        transport.lose = 2
        job = acme.submit("generate", {"prompt": act if as_file else "Once"})
        assert len(transport.seen) == 3 and jobs_of(ledger) == 1
        assert len({request.headers["Idempotency-Key"] for request in transport.seen}) == 1
        assert acme.get(job["id"])["id"] == job["id"]

    def test_two_submits_are_two_jobs(self, acme, ledger):
        for _ in range(2):
            acme.submit("generate", {"prompt": "Once"})
        assert jobs_of(ledger) == 2
        for _ in range(2):
            acme.submit("generate", {"prompt": "Once"}, idempotency_key="mine")
        assert jobs_of(ledger) == 3

    def test_not_ready_is_asked_again_until_it_is(self, acme, ledger, monkeypatch):
        """503 with Retry-After: the client waits so long and asks again."""
        ledger.redis.delete(keys.EPOCH)
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 2:
                ledger.set_epoch()

        monkeypatch.setattr(sender.time, "sleep", sleep)
        acme.submit("generate", {"prompt": "Once"})
        assert len(slept) == 2 and min(slept) >= 2 and jobs_of(ledger) == 1

    def test_it_gives_up_in_the_end(self, acme, transport):
        transport.lose = 100
        with pytest.raises(ApiError, match="the answer was lost") as raised:
            acme.models()
        assert len(transport.seen) == sender.TRIES and raised.value.retryable

    def test_where_nobody_has_answered_it_gives_up_soon_and_later_it_is_patient(self, monkeypatch):
        """An address that is wrong stays wrong; an API that restarts comes back. Each pause is told of."""
        monkeypatch.setattr(sender, "FIRST_ANSWER_S", 0)
        tried, told = [], []

        def refuse(request):
            tried.append(request.url)
            raise httpx.ConnectError("Connection refused")

        lonely = Client(
            "http://api:8080",
            "key",
            transport=httpx.MockTransport(refuse),
            on_pause=lambda error, seconds: told.append(error.detail),
        )
        with pytest.raises(ApiError, match="no answer from http://api:8080: Connection refused"):
            lonely.models()
        assert len(tried) == 1 and told == []
        answers = [httpx.Response(200, json={"data": []})]
        patient = Client(
            "http://api",
            "key",
            on_pause=lambda error, seconds: told.append(error.detail),
            transport=httpx.MockTransport(lambda request: answers.pop() if answers else refuse(request)),
        )
        assert patient.models() == []
        with pytest.raises(ApiError):
            patient.models()
        assert len(tried) == 1 + sender.TRIES and len(told) == sender.TRIES - 1

    @pytest.mark.parametrize("body", ["[]", '"ok"', "null", "{}", '{"data": 1}', "<html>"])
    def test_an_answer_of_another_service_is_an_api_error(self, body):
        """JSON that is no object, or has no list where one is due, is refused as text that is no JSON is."""
        other = httpx.MockTransport(lambda request: httpx.Response(200, text=body))
        with pytest.raises(ApiError, match="http://other is not Backlot's API: HTTP 200 without"):
            Client("http://other", "key", transport=other).models()

    @pytest.mark.parametrize(
        ("url", "key"), [("api:8080", "k"), ("http://", "k"), ("http://api", "clé"), ("http://api", "a b\nc")]
    )
    def test_a_url_or_a_key_that_can_be_none_is_refused_at_once(self, url, key):
        """Not after six tries."""
        with pytest.raises(ValueError, match="URL|key"):
            Client(url, key)

    def test_a_refusal_carries_the_problem(self, acme, transport):
        with pytest.raises(ApiError) as raised:
            acme.submit("generate", {"prompt": "Once"}, params={"speed": 1})
        assert (raised.value.status, raised.value.code, raised.value.retryable) == (422, "invalid_input", False)
        assert raised.value.problem["errors"][0]["pointer"] == "/params/speed" and len(transport.seen) == 1

    def test_a_changing_job_is_told_of(self, acme, hand, ledger):
        """on_change sees each look once."""
        job = acme.submit("generate", {"prompt": "Once"})
        seen = []

        def look(now):
            seen.append(now["status"])
            if now["status"] == "queued":
                hand.claimed = hand.claim()
            elif now["status"] == "running":
                hand.finish(hand.claimed)

        assert acme.wait(job["id"], on_change=look)["done"]
        assert seen == ["queued", "running", "succeeded"]

    def test_a_list_goes_on_over_pages_that_are_empty(self, acme, monkeypatch):
        """As a filter makes them, where a page examines few jobs."""
        monkeypatch.setattr("tasks.ledger.pages.LOOKS_A_CALL", 1)
        monkeypatch.setattr("tasks.ledger.pages.LOOKED_A_PAGE", 1)
        oldest = acme.submit("generate", {"prompt": "Once"})["id"]
        acme.cancel(oldest)
        for _ in range(3):
            acme.submit("generate", {"prompt": "Once"})
        assert [job["id"] for job in acme.jobs(status="canceled")] == [oldest]
        marked = acme.submit("generate", {"prompt": "Once"}, metadata={"scene": 12, "reel": "a"})["id"]
        assert [job["id"] for job in acme.jobs(metadata={"scene": 12, "reel": "a"})] == [marked]
        assert acme.limits()["waiting_jobs"]["used"] == 4

    def test_cancel_retry_list_delete(self, acme):
        job = acme.submit("generate", {"prompt": "Once"})
        assert acme.cancel(job["id"])["status"] == "canceled"
        again = acme.retry(job["id"])
        assert again["retry_of"] == job["id"]
        assert [one["id"] for one in acme.jobs(limit=1)] == [again["id"], job["id"]]
        acme.delete(job["id"])
        with pytest.raises(ApiError) as raised:
            acme.get(job["id"])
        assert raised.value.status == 410
        assert acme.model("generate", "lstm")["name"] in {model["name"] for model in acme.models()}

    def test_dead_letters_are_replayed_and_purged_page_after_page(self, acme, transport, kill, monkeypatch):
        """Each call has a key of its own; one whose answer was lost is sent again with it."""
        old = [kill(acme.submit("generate", {"prompt": "Once"}, max_attempts=1)) for _ in range(3)]
        assert [job["id"] for job in acme.dead_letters(limit=2)] == old[::-1]
        transport.seen.clear()
        transport.lose = 1
        made = list(acme.replay_dead_letters(limit=2))
        assert [job["retry_of"] for job in made] == old[::-1]
        sent = [request.headers["Idempotency-Key"] for request in transport.seen]
        assert len(sent) == 3 and sent[0] == sent[1] != sent[2]
        for job in made:
            kill(job)
        assert set(acme.purge_dead_letters(error_code="worker_lost", limit=2)) == {job["id"] for job in made}
        assert list(acme.dead_letters()) == []


class TestCommandLine:
    @pytest.fixture
    def run(self, acme, monkeypatch):
        """Runs `backlot` with words, and looks at its exit status."""
        monkeypatch.setattr(credentials, "Client", lambda *_, **__: acme)
        monkeypatch.setenv("BACKLOT_API_KEY", "read by nobody here")

        def run(*words: str, status: int = 0):
            result = CliRunner().invoke(cli.main, words)
            assert result.exit_code == status, result.output
            return result

        return run

    def test_schedules(self, run, tmp_path):
        (tmp_path / "job.json").write_text('{"kind": "generate", "input": {"prompt": "Once"}}')
        words = ("schedules", "add", "0 6 * * *", str(tmp_path / "job.json"), "--time-zone", "Europe/Berlin")
        made = json.loads(run(*words, "--name", "dawn").stdout)
        assert made["time_zone"] == "Europe/Berlin" and made["id"] in run("schedules", "list").stdout
        assert json.loads(run("schedules", "pause", made["id"]).stdout)["paused"]
        assert not json.loads(run("schedules", "resume", made["id"]).stdout)["paused"]
        assert json.loads(run("schedules", "get", made["id"]).stdout)["name"] == "dawn"
        run("schedules", "delete", made["id"])
        assert made["id"] not in run("schedules", "list").stdout

    def test_amend(self, run):
        job = json.loads(run("submit", "generate", "prompt=Once").stdout)
        told = run("amend", job["id"], "priority=5", "deadline_s=60", "--metadata", "scene=12").stdout
        assert (json.loads(told)["priority"], json.loads(told)["metadata"]) == (5, {"scene": 12})

    def test_submit_get_list_cancel_retry(self, run):
        job = json.loads(run("submit", "generate", "prompt=Once", "-p", "seed=3", "--priority", "2").stdout)
        assert (job["params"], job["priority"], job["input"]) == ({"seed": 3}, 2, {"prompt": "Once"})
        assert json.loads(run("get", job["id"]).stdout)["id"] == job["id"]
        assert json.loads(run("cancel", job["id"]).stdout)["status"] == "canceled"
        again = json.loads(run("retry", job["id"]).stdout)
        table = run("list").stdout
        assert table.index(again["id"]) < table.index(job["id"])
        assert json.loads(run("list", "--status", "canceled", "--json").stdout)["id"] == job["id"]
        run("delete", job["id"])
        assert "gone" in run("get", job["id"], status=1).stderr

    def test_a_file_is_named_with_an_at_sign(self, run, tmp_path):
        talk = tmp_path / "talk.wav"
        talk.write_bytes(b"RIFF")
        job = json.loads(run("submit", "transcribe", f"audio=@{talk}").stdout)
        assert job["input"]["audio"].startswith("upload:")
        assert "there is no file" in run("submit", "transcribe", "audio=@/nowhere", status=2).stderr

    def test_texts_stay_texts_and_lists_are_lists(self, run):
        assert json.loads(run("submit", "generate", "prompt=1984").stdout)["input"] == {"prompt": "1984"}
        words = ("catalogue=https://example.com/c.csv", "history=1", "history=2")
        assert json.loads(run("submit", "recommend", *words).stdout)["input"]["history"] == ["1", "2"]

    def test_wait_says_by_its_exit_status_how_it_went(self, run, hand, acme):
        good, bad = (json.loads(run("submit", "generate", "prompt=Once").stdout)["id"] for _ in range(2))
        hand.finish(hand.claim())
        acme.cancel(bad)
        assert json.loads(run("wait", good).stdout)["status"] == "succeeded"
        assert "canceled" in run("wait", bad, status=terminal.NOT_SUCCEEDED).stderr

    def test_refusals_are_lines_not_tracebacks(self, run):
        shown = run("submit", "generate", "prompt=Once", "-p", "speed=1", status=1).stderr
        assert "invalid_input" in shown and "/params/speed" in shown and "Traceback" not in shown

    def test_dead_letters_are_listed_shown_replayed_and_purged(self, run, acme, kill):
        """Ids, or a filter, or --all: nothing is done to all by leaving a word out."""
        old = [kill(acme.submit("generate", {"prompt": "Once"}, max_attempts=1)) for _ in range(4)]
        assert "worker_lost" in run("dead-letters", "list").stdout
        assert json.loads(run("dead-letters", "show", old[0]).stdout)["status"] == "failed"
        assert run("dead-letters", "replay", old[0]).stdout.startswith(old[0] + "\t")
        assert old[0] not in run("dead-letters", "list").stdout
        run("dead-letters", "purge", old[1])
        assert run("dead-letters", "replay", "--error-code", "timeout").stdout == ""
        for verb in ("replay", "purge"):
            assert "--all" in run("dead-letters", verb, status=2).stderr
            assert "--all" in run("dead-letters", verb, old[2], "--all", status=2).stderr
        assert old[3] in run("dead-letters", "replay", "--model", "transformer").stdout
        assert run("dead-letters", "purge", "--all").stdout == ""

    def test_models_are_listed(self, run):
        assert "lstm" in run("models").stdout

    def test_keys_are_added_listed_and_removed(self, run, tmp_path):
        """The key is printed once; the file never has it."""
        path = tmp_path / "state" / "keys.json"
        at = ("keys", "--file", str(path))
        key = run(*at, "add", "acme", "--name", "laptop").stdout.strip()
        run(*at, "add", "acme", "--scope", "operator", "--name", "ops")
        assert [(k.sha256, k.scope) for k in keyfile.read(path)][0] == (keyfile.digest(key), "tenant")
        listed = run(*at, "list").stdout
        assert "laptop" in listed and "operator" in listed and key not in listed and key not in path.read_text()
        run(*at, "remove", "laptop")
        assert [k.name for k in keyfile.read(path)] == ["ops"]
        assert "no key;" in run(*at, "remove", "laptop", status=1).stderr
        assert "tenant" in run(*at, "add", "Not One", status=1).stderr

    def test_keys_are_limited_and_rotated(self, run, tmp_path):
        """What the file says of each; a duration that is none is refused."""
        path = tmp_path / "other.json"
        at = ("keys", "--file", str(path))
        run(*at, "add", "acme", "--name", "ci", "--read-only", "--kind", "caption", "--expires", "30d")
        (key,) = keyfile.read(path)
        assert (key.access, key.kinds, (key.expires_at - key.created_at).days) == ("read", ["caption"], 30)
        new = run(*at, "rotate", "ci", "--overlap", "15m").stdout.strip()
        old, fresh = keyfile.read(path)
        assert fresh.sha256 == keyfile.digest(new) and (fresh.access, fresh.kinds) == ("read", ["caption"])
        assert old.expires_at < key.expires_at
        assert "no duration" in run(*at, "add", "acme", "--expires", "soon", status=2).stderr
        assert "caption" in run(*at, "list").stdout

    def test_outputs_are_downloaded(self, run, acme, hand, tmp_path, monkeypatch):
        job = acme.submit("generate", {"prompt": "Once"})
        hand.finish(hand.claim(), "the end")
        run("download", job["id"], "-o", str(tmp_path))
        assert (tmp_path / "text.txt").read_text() == "the end"
