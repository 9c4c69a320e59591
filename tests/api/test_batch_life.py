"""A batch as a thing: its answer, its counts, its results, its cancel and its end; the ways in which it may come."""

import io
import json
from typing import Any

import pytest

from api.v1.batches import BatchResult
from tasks.batch import Batch
from tasks.errors import ModelFailed
from tasks.ids import new_batch_id
from tasks.ledger import keys
from tasks.ledger.bulk import ENDS_A_TRIP, RECEIVED_WITHIN_S
from tasks.service import batches
from tests.api.conftest import PROMPT, Caller, problem
from tests.api.test_batches import KEY, away_from, jobs_of, killed_from, numbered
from worker.keeper.batches import Batches
from worker.keeper.compact import Compactor
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.skipped import Skipped


def post(caller: Caller, body: bytes | list[bytes], query: str = "", headers=None):
    body = b"\n".join(body) if isinstance(body, list) else body
    return caller.post(f"/v1/batches{query}", data=body, content_type="application/jsonl", headers=headers)


def made(answer) -> dict[str, Any]:
    """The batch of an answer, after looking that it is as the document promises."""
    assert answer.status_code in (200, 202), answer.get_data(as_text=True)
    assert set(answer.json) == set(Batch.model_fields)
    Batch.model_validate(answer.json)
    return answer.json


def counts(batch: dict[str, Any]) -> dict[str, int]:
    return {status: count for status, count in batch["counts"].items() if count}


def results(caller: Caller, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = caller.get(batch["links"]["results"] + query)
    assert (answer.status_code, answer.content_type) == (200, "application/jsonl")
    found = [json.loads(line) for line in answer.data.splitlines()]
    for line in found:
        BatchResult.model_validate(line)
    return found


def line(**changes) -> bytes:
    return json.dumps({**PROMPT, **changes}).encode()


def looks(ledger, storage) -> None:
    """A round of the keeper's duty, which finds every batch due."""
    for member in ledger.redis.zrange(keys.BATCHES, 0, -1):
        ledger.redis.zadd(keys.BATCHES, {member: 0})
    Batches(ledger, storage).look(Skipped("batches"))


def test_a_batch_is_a_thing_with_counts_and_results(acme, ledger, hand):
    """202 and the batch; its counts follow its jobs; results come in the order of the lines, also while it runs."""
    answer = post(acme, [line(custom_id="a"), b"{", b"", line(custom_id="b"), line()])
    batch = made(answer)
    assert answer.status_code == 202 and answer.headers["Location"] == f"/v1/batches/{batch['id']}"
    assert (batch["status"], batch["done"], batch["lines"], batch["refused"]) == ("sealed", False, 4, 1)
    assert counts(batch) == {"queued": 3} and batch["sealed_at"] and batch["completed_at"] is None
    assert [(error["line"], error["code"]) for error in batch["errors"]] == [(2, "malformed")]
    first, second = hand.claim(), hand.claim()
    assert counts(made(acme.get(batch["links"]["self"]))) == {"queued": 1, "running": 2}
    hand.finish(first, "done")
    ledger.fail(second.fixed.id, second.token, ModelFailed("boom"))
    told = results(acme, batch)
    assert [one["line"] for one in told] == [1, 2, 4, 5]
    assert [one.get("custom_id") for one in told] == ["a", None, "b", None]
    assert [one["job"]["status"] if "job" in one else one["error"]["code"] for one in told] == [
        "succeeded",
        "malformed",
        "failed",
        "queued",
    ]
    assert told[0]["job"]["result"]["text"] == "done" and told[0]["job"]["outputs"][0]["url"].startswith("/v1/jobs/")
    assert (told[0]["job"]["batch"], told[0]["job"]["custom_id"]) == (batch["id"], "a")
    assert results(acme, batch, "?after=2") == told[2:]
    hand.finish(hand.claim())
    over = made(acme.get(batch["links"]["self"]))
    assert (over["status"], over["done"], counts(over)) == ("done", True, {"succeeded": 2, "failed": 1})
    assert over["completed_at"] >= over["sealed_at"]


def test_a_retry_of_a_member_is_a_job_of_its_own(acme, ledger, hand):
    batch = made(post(acme, [line(custom_id="a")]))
    hand.finish(claimed := hand.claim())
    again = acme.post(f"/v1/jobs/{claimed.fixed.id}/retry").json
    assert again["retry_of"] == claimed.fixed.id and again["batch"] is None and again["custom_id"] is None
    assert counts(made(acme.get(batch["links"]["self"]))) == {"succeeded": 1}


def test_the_list_of_jobs_shows_those_of_a_batch_alone(acme, rival, hand):
    """Full pages, though other jobs came before and after."""
    acme.submit()
    batch = made(post(acme, numbered(5)))
    other = made(post(acme, numbered(3)))
    acme.submit()
    hand.claim()
    ids = [one["job"]["id"] for one in results(acme, batch)]
    first = acme.get(f"/v1/jobs?batch={batch['id']}&limit=3&count=true").json
    assert [job["id"] for job in first["data"]] == ids[:1:-1] and first["count"] == {"jobs": 5, "exact": True}
    rest = acme.get(f"/v1/jobs?batch={batch['id']}&limit=3&cursor={first['next_cursor']}").json
    assert [job["id"] for job in rest["data"]] == ids[1::-1]
    assert len(acme.get(f"/v1/jobs?batch={other['id']}&status=queued").json["data"]) == 3
    for caller, named in ((rival, batch["id"]), (acme, new_batch_id())):
        assert caller.get(f"/v1/jobs?batch={named}").json["data"] == []


def test_lists_are_pages_newest_first(acme, rival):
    ids = [made(post(acme, line()))["id"] for _ in range(3)]
    made(post(rival, line()))
    first = acme.get("/v1/batches?limit=2").json
    assert [batch["id"] for batch in first["data"]] == [ids[2], ids[1]]
    rest = acme.get(f"/v1/batches?limit=2&cursor={first['next_cursor']}").json
    assert [batch["id"] for batch in rest["data"]] == [ids[0]] and rest["next_cursor"] is None
    problem(acme.get("/v1/batches?cursor=nobody"), 422, "invalid_input")


def test_a_cancel_ends_what_waits_and_stops_what_runs(acme, hand, ledger):
    batch = made(post(acme, numbered(60)))
    running, ended = hand.claim(), hand.claim()
    hand.finish(ended)
    answer = acme.post(batch["links"]["cancel"])
    assert answer.status_code == 202 and counts(made(answer)) == {"canceled": 58, "canceling": 1, "succeeded": 1}
    assert made(answer)["canceled_at"]
    hand.finish(running)
    assert counts(made(acme.post(batch["links"]["cancel"]))) == {"canceled": 58, "succeeded": 2}
    assert not ledger.redis.exists("bl:line:gpu.generate:transformer@2")
    over = made(post(acme, line()))
    hand.finish(hand.claim())
    problem(acme.post(over["links"]["cancel"]), 409, "conflict")


def test_an_erased_batch_is_gone_with_its_jobs(acme, hand, ledger):
    batch = made(post(acme, [*numbered(3), b"{"]))
    problem(acme.delete(batch["links"]["self"]), 409, "conflict")
    acme.post(batch["links"]["cancel"])
    ids = [one["job"]["id"] for one in results(acme, batch) if "job" in one]
    assert acme.delete(batch["links"]["self"]).status_code == 204
    problem(acme.get(batch["links"]["self"]), 404, "not_found")
    assert [acme.get(f"/v1/jobs/{job_id}").status_code for job_id in ids] == [410] * 3
    assert not ledger.redis.keys("bl:batch*") and not ledger.redis.exists(keys.held("acme"))


def test_a_batch_is_its_tenants_alone(acme, rival, operator):
    batch = made(post(acme, line()))
    never = f"/v1/batches/{new_batch_id()}"
    for suffix, method in (("", "GET"), ("/results", "GET"), ("/cancel", "POST"), ("", "DELETE")):
        told = [rival.open(path + suffix, method=method) for path in (batch["links"]["self"], never)]
        assert [problem(one, 404, "not_found")["title"] for one in told] == ["Not Found"] * 2
    assert rival.get("/v1/batches").json["data"] == []
    problem(rival.get(batch["links"]["self"] + "?tenant=acme"), 403, "forbidden")
    assert made(operator.get(batch["links"]["self"] + "?tenant=acme"))["id"] == batch["id"]


class TestTerms:
    """The wishes for all lines."""

    def test_reject_takes_all_lines_or_none(self, acme, ledger):
        """The error names each bad line and the places in it."""
        told = problem(post(acme, [line(), line(urgent=1), b"{", line()], "?on_error=reject"), 422, "invalid_input")
        assert [error["pointer"] for error in told["errors"]] == ["/2/urgent", "/3"]
        assert "2 lines" in told["detail"] and "line 2, /urgent" in told["detail"]
        assert not jobs_of(ledger) and not ledger.redis.keys("bl:batch*")
        batch = made(post(acme, numbered(30), "?on_error=reject", headers=KEY))
        assert counts(batch) == {"queued": 30}
        assert made(post(acme, numbered(30), "?on_error=reject", headers=KEY))["id"] == batch["id"]
        problem(post(acme, numbered(30), headers=KEY), 422, "idempotency_key_reused")

    def test_lines_have_the_defaults_that_they_leave_out(self, acme):
        """Of params and metadata name by name."""
        defaults = {
            "kind": "generate",
            "params": {"seed": 1, "max_tokens": 5},
            "priority": 3,
            "metadata": {"by": "all"},
        }
        body = [b'{"input": {"prompt": "a"}}', line(params={"seed": 2}, priority=-1, metadata={"n": 1})]
        batch = made(acme.post("/v1/batches", query_string={"defaults": json.dumps(defaults)}, data=b"\n".join(body),
                               content_type="application/jsonl"))  # fmt: skip
        first, second = (one["job"] for one in results(acme, batch))
        assert (first["params"], first["priority"], first["metadata"]) == (
            {"seed": 1, "max_tokens": 5},
            3,
            {"by": "all"},
        )
        assert second["params"] == {"seed": 2, "max_tokens": 5} and second["priority"] == -1
        assert second["metadata"] == {"by": "all", "n": 1}

    @pytest.mark.parametrize(
        "defaults", ["{", "[]", '{"urgent": 1}', '{"custom_id": "a"}', '{"kind": "a", "kind": "b"}']
    )
    def test_defaults_that_no_line_can_have_are_refused(self, acme, ledger, defaults):
        answer = acme.post(
            "/v1/batches", query_string={"defaults": defaults}, data=line(), content_type="application/jsonl"
        )
        assert problem(answer, 422, "invalid_input")["errors"][0]["pointer"].startswith("/defaults")
        assert not jobs_of(ledger)

    def test_a_custom_id_is_one_lines(self, acme):
        batch = made(
            post(acme, [line(custom_id="a"), line(custom_id="a"), line(custom_id="x" * 65), line(custom_id="x" * 64)])
        )
        assert counts(batch) == {"queued": 2}
        assert [(error["line"], error["errors"][0]["pointer"]) for error in batch["errors"]] == [
            (2, "/custom_id"),
            (3, "/custom_id"),
        ]
        assert "line 1" in batch["errors"][0]["detail"] and batch["errors"][0].get("custom_id") is None


class TestWaysIn:
    def test_a_form_has_the_lines_as_a_file(self, acme):
        sent = {
            "input": (io.BytesIO(line(custom_id="a")), "lines.jsonl"),
            "on_error": "reject",
            "defaults": '{"priority": 2}',
        }
        batch = made(acme.post("/v1/batches", data=sent, content_type="multipart/form-data"))
        (one,) = results(acme, batch)
        assert (one["custom_id"], one["job"]["priority"]) == ("a", 2)

    @pytest.mark.parametrize(
        "sent",
        [
            {"on_error": "skip"},
            {"input": "a text"},
            {"input": (io.BytesIO(line()), "a"), "kind": "generate"},
            {"input": (io.BytesIO(line()), "a"), "on_error": "perhaps"},
        ],
    )
    def test_a_form_of_other_fields_is_refused(self, acme, ledger, sent):
        problem(acme.post("/v1/batches", data=sent, content_type="multipart/form-data"), 422, "invalid_input")
        assert not jobs_of(ledger)

    def test_an_upload_may_have_the_lines(self, acme, rival, app):
        upload = acme.post("/v1/uploads", json={"name": "lines.jsonl", "bytes": 3}).json
        asked = {"input": upload["source"], "defaults": {"priority": 2}}
        assert "nothing has been put" in problem(acme.post("/v1/batches", json=asked), 422, "invalid_input")["detail"]
        key = f"tenants/acme/uploads/{upload['id']}/lines.jsonl"
        app.extensions["backlot"].jobs.storage.put_bytes(key, b"\n".join(numbered(3)), "application/jsonl")
        batch = made(acme.post("/v1/batches", json=asked))
        assert counts(batch) == {"queued": 3} and results(acme, batch)[2]["job"]["priority"] == 2
        problem(rival.post("/v1/batches", json=asked), 422, "invalid_input")


class TestUnfinished:
    """A batch whose lines were not all handled is `receiving`."""

    def test_it_is_refused_and_finished_by_the_next_request(self, acme, app, monkeypatch, ledger):
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as broken:
            broken.setattr(real, "submit_many", away_from(1, real.submit_many))
            problem(post(acme, numbered(60), headers=KEY), 503, "not_ready")
        (batch,) = acme.get("/v1/batches").json["data"]
        assert batch["status"] == "receiving" and counts(batch) == {"queued": 25}
        whole = made(post(acme, numbered(60), headers=KEY))
        assert whole["id"] == batch["id"] and counts(whole) == {"queued": 60} and whole["status"] == "sealed"

    def test_its_jobs_are_canceled_after_an_hour(self, acme, app, monkeypatch, ledger, storage, hand):
        """As where its process was killed and nobody sent it again: what has ended stays."""
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as killed:
            killed.setattr(real, "submit_many", killed_from(1, real.submit_many))
            assert post(acme, numbered(60)).status_code == 500
        hand.finish(hand.claim())
        looks(ledger, storage)
        (batch,) = acme.get("/v1/batches").json["data"]
        assert (batch["status"], counts(batch)) == ("receiving", {"queued": 24, "succeeded": 1})
        created = float(ledger.redis.hget(keys.batch("acme", batch["id"]), "created_ms"))
        ledger.redis.hset(keys.batch("acme", batch["id"]), "created_ms", created - RECEIVED_WITHIN_S * 1000)
        looks(ledger, storage)
        over = made(acme.get(batch["links"]["self"]))
        assert (over["status"], counts(over), over["refused"]) == ("done", {"succeeded": 1, "canceled": 24}, 35)
        assert len(results(acme, over)) == 25 and not ledger.redis.exists(keys.receiving("acme"))

    def test_a_cancel_that_stopped_half_way_is_finished_by_the_keeper(self, acme, app, monkeypatch, ledger, storage):
        batch = made(post(acme, numbered(60)))
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as killed:
            killed.setattr(real, "cancel_many", killed_from(1, real.cancel_many))
            assert acme.post(batch["links"]["cancel"]).status_code == 500
        assert counts(made(acme.get(batch["links"]["self"]))) == {"queued": 60 - ENDS_A_TRIP, "canceled": ENDS_A_TRIP}
        looks(ledger, storage)
        assert counts(made(acme.get(batch["links"]["self"]))) == {"canceled": 60}


def test_what_a_request_has_no_time_for_the_keeper_does(acme, monkeypatch, ledger, storage):
    """A cancel and an erasure of very many jobs answer after seconds, and go on."""
    monkeypatch.setattr(batches, "CALLERS_S", -1)
    batch = made(post(acme, numbered(30)))
    assert counts(made(acme.post(batch["links"]["cancel"]))) == {"queued": 30 - ENDS_A_TRIP, "canceled": ENDS_A_TRIP}
    looks(ledger, storage)
    assert counts(made(acme.get(batch["links"]["self"]))) == {"canceled": 30}
    assert acme.delete(batch["links"]["self"]).status_code == 204
    problem(acme.get(batch["links"]["self"]), 404, "not_found")
    assert len(jobs_of(ledger)) == 30
    looks(ledger, storage)
    assert jobs_of(ledger) == [] and not ledger.redis.keys("bl:batch*")


def test_past_its_retention_a_batch_is_deleted(acme, ledger, storage, hand):
    batch = made(post(acme, line(retention_s=1)))
    hand.finish(hand.claim())
    looks(ledger, storage)
    name = keys.batch("acme", batch["id"])
    kept = float(ledger.redis.hget(name, "keep_ms"))
    ledger.redis.hset(name, mapping={"ended_ms": 1, "sealed_ms": 1})
    looks(ledger, storage)
    assert kept >= 1000 and not ledger.redis.keys("bl:batch*")


@pytest.mark.parametrize("compacted", [False, True])
def test_a_flush_in_mid_batch_loses_no_count(acme, ledger, storage, settings, hand, compacted):
    """Members that ended are in the bucket alone; counts, marks and results are as before, and the batch goes on."""
    batch = made(post(acme, [*numbered(4), b"{"], headers=KEY))
    for _ in range(2):
        hand.finish(hand.claim())
    journal = Journal(ledger, storage)
    journal.write_segments()
    journal.write_job_json(for_s=5)
    if compacted:
        for name in [seen.key for seen in storage.list("journal/") if seen.key.endswith("jsonl")] * 2:
            assert Compactor(ledger, ledger.redis, storage).compact(name) == 4  # two living, the batch, its ends
    before = results(acme, batch)
    ledger.redis.flushdb()
    Restore(settings, ledger.redis, storage).run()
    ledger.set_epoch()
    again = made(acme.get(batch["links"]["self"]))
    assert counts(again) == {"queued": 2, "succeeded": 2} and again["sealed_at"] == batch["sealed_at"]
    assert [one["job"]["status"] for one in results(acme, batch)] == [
        one["job"]["status"] for one in before if "job" in one
    ]
    assert made(post(acme, [*numbered(4), b"{"], headers=KEY))["id"] == batch["id"]
    while claimed := hand.claim():
        hand.finish(claimed)
    over = made(acme.get(batch["links"]["self"]))
    assert over["done"] and counts(over) == {"succeeded": 4}
