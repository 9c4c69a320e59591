"""What a caller sees of a job's life, and what it may do with it: look, wait, cancel, retry, erase, fetch."""

import json
from http import HTTPStatus

import httpx
import pytest

from tasks.errors import ModelFailed
from tasks.ledger import keys
from tests.api.conftest import PROMPT, as_job, in_seconds, problem

ALL = (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", ""), ("GET", "/outputs/text.txt"))


def path(job: dict, more: str = "") -> str:
    return f"/v1/jobs/{job['id']}{more}"


def test_a_running_job_shows_its_phase_and_progress(acme, hand, ledger):
    """Between claim and end: the attempt, what it does, how far it is."""
    job = acme.submit()
    claimed = hand.claim()
    ledger.report(job["id"], claimed.token, "running", 0.5, "half of it")
    seen = as_job(acme.get(path(job)))
    assert (seen.status, seen.phase, seen.progress, seen.message) == ("running", "running", 0.5, "half of it")
    assert seen.queue_position is None and seen.started_at >= seen.created_at
    assert [(a.number, a.worker, a.ended_at) for a in seen.attempts] == [(1, "hand", None)]


def test_a_succeeded_job_has_a_result_and_outputs(acme, hand):
    """And they can be fetched by the stable path, through a fresh link that no cache keeps."""
    job = acme.submit()
    hand.finish(hand.claim(), "and they lived")
    seen = as_job(acme.get(path(job)))
    assert (seen.status, seen.done, seen.progress) == ("succeeded", True, 1)
    assert seen.result["text"] == "and they lived" and seen.retained_until > seen.completed_at
    (output,) = seen.outputs
    answer = acme.get(output.url)
    assert answer.status_code == HTTPStatus.TEMPORARY_REDIRECT and answer.data == b""
    assert answer.headers["Cache-Control"] == "private, no-store"
    fetched = httpx.get(answer.headers["Location"])
    assert fetched.text == "and they lived" and fetched.headers["Content-Type"].startswith("text/plain")
    assert 'filename="text.txt"' in fetched.headers["Content-Disposition"]


def test_no_answer_shows_a_link_or_a_key_of_the_bucket(acme, hand):
    """Links open the object to whoever reads them, so they stand in Location alone."""
    job = acme.submit()
    hand.finish(hand.claim())
    for answer in (acme.get(path(job)), acme.get("/v1/jobs"), acme.get(path(job, "/outputs/nothing"))):
        assert b"X-Amz" not in answer.data and b"tenants/" not in answer.data


def test_a_failed_job_says_why(acme, hand, ledger):
    job = acme.submit()
    claimed = hand.claim()
    ledger.fail(job["id"], claimed.token, ModelFailed("the network gave NaN"))
    seen = as_job(acme.get(path(job)))
    assert seen.status == "failed" and seen.attempts[0].outcome == "failed"
    assert seen.error.model_dump() == {"code": "model_failed", "detail": "the network gave NaN", "retryable": False}


def test_the_place_in_the_line_is_exact(acme):
    jobs = [acme.submit() for _ in range(3)]
    assert [acme.get(path(job)).json["queue_position"] for job in jobs] == [1, 2, 3]


class TestCancel:
    def test_a_waiting_job_is_canceled_at_once(self, acme):
        job = acme.submit()
        answer = acme.post(path(job, "/cancel"))
        assert (answer.status_code, answer.json["status"], answer.json["done"]) == (202, "canceled", True)

    def test_a_running_job_is_asked_to_stop(self, acme, hand):
        job = acme.submit()
        claimed = hand.claim()
        assert acme.post(path(job, "/cancel")).json["status"] == "canceling"
        assert acme.post(path(job, "/cancel")).status_code == 202
        assert hand.finish(claimed) == "succeeded"
        problem(acme.post(path(job, "/cancel")), 409, "conflict")

    def test_asking_again_is_no_error(self, acme):
        job = acme.submit()
        assert [acme.post(path(job, "/cancel")).status_code for _ in range(2)] == [202, 202]


class TestRetry:
    def test_an_ended_job_can_be_done_again_as_a_new_one(self, acme):
        job = acme.submit(params={"seed": 3}, metadata={"take": 1})
        acme.post(path(job, "/cancel"))
        answer = acme.post(path(job, "/retry"))
        again = as_job(answer)
        assert answer.status_code == 202 and answer.headers["Location"] == f"/v1/jobs/{again.id}"
        assert again.id != job["id"] and again.retry_of == job["id"] and again.status == "queued"
        assert (again.params, again.metadata, again.input) == ({"seed": 3}, {"take": 1}, job["input"])

    def test_a_job_under_way_cannot(self, acme, hand):
        job = acme.submit()
        assert "queued" in problem(acme.post(path(job, "/retry")), 409, "conflict")["detail"]

    def test_the_same_key_makes_one_retry(self, acme):
        job = acme.submit()
        acme.post(path(job, "/cancel"))
        answers = [acme.post(path(job, "/retry"), headers={"Idempotency-Key": "again"}) for _ in range(2)]
        assert answers[0].json["id"] == answers[1].json["id"]
        assert "Idempotency-Replayed" in answers[1].headers and "Idempotency-Replayed" not in answers[0].headers

    def test_a_merge_patch_changes_the_request_and_the_difference_is_kept(self, acme, ledger):
        """Params name by name, null for the default; the journal has it, so that a restore has it."""
        old = acme.submit(params={"seed": 1, "max_tokens": 5}, priority=2, queue_ttl_s=60, metadata={"scene": 1})
        acme.post(path(old, "/cancel"))
        patch = {
            "params": {"seed": None, "top_k": 7},
            "model": "lstm",
            "queue_ttl_s": None,
            "deadline_s": 90,
            "priority": 2,
        }
        answer = acme.post(path(old, "/retry"), json=patch)
        new = as_job(answer)
        assert (new.retry_of, new.model, new.params, new.priority) == (
            old["id"],
            "lstm",
            {"max_tokens": 5, "top_k": 7},
            2,
        )
        assert new.metadata == {"scene": 1} and new.input == {"prompt": PROMPT["input"]["prompt"]}
        changed = {"params": {"seed": None, "top_k": 7}, "model": "lstm", "queue_ttl_s": 86400.0, "deadline_s": 90.0}
        assert new.changed == changed == acme.get(path(answer.json)).json["changed"]
        *_, (_, entry) = ledger.redis.xrange(keys.JOURNAL)
        assert json.loads(entry["fixed"])["changed"] == changed
        acme.post(path(answer.json, "/cancel"))
        assert acme.post(path(answer.json, "/retry"), json={}).json["changed"] is None

    @pytest.mark.parametrize(
        ("patch", "pointer"),
        [
            ({"params": {"seed": "x"}}, "/params/seed"),
            ({"params": {"on_long_prompt": "cut"}, "model": "lstm"}, "/params/on_long_prompt"),
            ({"params": 5}, "/params"),
            ({"priority": 11}, "/priority"),
            ({"retention_s": 1e9}, "/retention_s"),
            ({"start_at": "1969-01-01T00:00:00Z"}, "/start_at"),
            ({"kind": "caption"}, "/kind"),
            ({"input": {}}, "/input"),
        ],
    )
    def test_a_patch_that_cannot_be_is_refused_and_makes_nothing(self, acme, ledger, patch, pointer):
        job = acme.submit()
        acme.post(path(job, "/cancel"))
        refused = problem(acme.post(path(job, "/retry"), json=patch), 422, "invalid_input")
        assert [error["pointer"] for error in refused["errors"]] == [pointer]
        assert ledger.redis.zcard(keys.tenant_jobs("acme")) == 1

    def test_a_patch_is_a_part_of_the_same_retry(self, acme):
        """Another model that is not there; another patch under the same key; the type of RFC 7396."""
        job = acme.submit()
        acme.post(path(job, "/cancel"))
        problem(acme.post(path(job, "/retry"), json={"model": "none"}), 422, "unknown_model")
        problem(acme.post(path(job, "/retry"), data=b"[]", content_type="application/json"), 422, "invalid_input")
        problem(acme.post(path(job, "/retry"), data="priority=3"), 415, "unsupported_media")
        key, type_ = {"Idempotency-Key": "again"}, "application/merge-patch+json"
        first = acme.post(path(job, "/retry"), data=b'{"priority": 3}', content_type=type_, headers=key)
        assert first.status_code == 202 and first.json["priority"] == 3
        assert acme.post(path(job, "/retry"), json={"priority": 3}, headers=key).json["id"] == first.json["id"]
        other = acme.post(path(job, "/retry"), json={"priority": 4}, headers=key)
        problem(other, 422, "idempotency_key_reused")

    def test_its_uploads_stay_as_long_as_the_retry(self, acme, ledger):
        job = acme.submit(input={"prompt": "x" * 40_000})
        upload_id = job["input"]["prompt"]["url"].removeprefix("upload:")
        acme.post(path(job, "/cancel"))
        again = acme.post(path(job, "/retry")).json
        assert ledger.redis.smembers(keys.upload_jobs("acme", upload_id)) == {job["id"], again["id"]}


class TestErase:
    def test_an_ended_job_goes_and_its_objects_are_trash(self, acme, hand, ledger):
        job = acme.submit()
        hand.finish(hand.claim())
        assert acme.delete(path(job)).status_code == 204
        problem(acme.get(path(job)), 410, "gone")
        problem(acme.delete(path(job)), 410, "gone")
        assert ledger.redis.zscore(keys.TRASH, f"tenants/acme/jobs/{job['id']}/")

    def test_a_job_under_way_stays(self, acme):
        job = acme.submit()
        problem(acme.delete(path(job)), 409, "conflict")
        assert acme.get(path(job)).status_code == 200


def test_tenants_do_not_see_each_other(acme, rival, hand):
    """Another tenant's job is not there, whatever is asked of it, and stays as it was."""
    job = acme.submit()
    for method, more in ALL:
        problem(rival.open(path(job, more), method=method), 404, "not_found")
    hand.finish(hand.claim())
    for method, more in ALL:
        problem(rival.open(path(job, more), method=method), 404, "not_found")
    assert rival.get("/v1/jobs").json["data"] == []
    assert acme.get(path(job)).json["status"] == "succeeded"


class TestList:
    def test_newest_first_page_after_page(self, acme):
        """Every job once, in order, whatever the size of the pages."""
        jobs = [acme.submit()["id"] for _ in range(7)]
        seen, cursor = [], None
        while True:
            page = acme.get("/v1/jobs", query_string={"limit": 3, **({"cursor": cursor} if cursor else {})}).json
            seen += [job["id"] for job in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == jobs[::-1]

    def test_by_status_kind_and_model(self, acme):
        """'cancelled' is understood too."""
        first, second = acme.submit(), acme.submit()
        third = acme.submit(kind="caption", model="cnn-lstm", input={"image": "https://example.com/a.png"})
        acme.post(path(first, "/cancel"))

        def ids(**query):
            return [job["id"] for job in acme.get("/v1/jobs", query_string=query).json["data"]]

        assert ids(status="cancelled") == ids(status="canceled") == [first["id"]]
        assert ids(status="queued") == [third["id"], second["id"]]
        assert ids(kind="caption") == [third["id"]] == ids(model="cnn-lstm")
        assert ids(kind="generate", status="queued", model="transformer") == [second["id"]]
        assert ids(model="none-such") == [] == ids(model="transform")
        assert acme.get("/v1/jobs?model=transform&count=true").json["count"] == {"jobs": 0, "exact": True}

    def test_a_page_examines_a_bounded_number(self, acme, monkeypatch):
        """A rare status in a long list: short pages that still lead on."""
        monkeypatch.setattr("tasks.ledger.pages.LOOKS_A_CALL", 2)
        monkeypatch.setattr("tasks.ledger.pages.LOOKED_A_PAGE", 4)
        oldest = acme.submit()
        acme.post(path(oldest, "/cancel"))
        for _ in range(6):
            acme.submit()
        first = acme.get("/v1/jobs?status=canceled").json
        assert first["data"] == [] and first["next_cursor"]
        second = acme.get("/v1/jobs", query_string={"status": "canceled", "cursor": first["next_cursor"]}).json
        assert [job["id"] for job in second["data"]] == [oldest["id"]]
        assert acme.get("/v1/jobs?status=queued&count=true").json["count"] == {"jobs": 4, "exact": False}

    def test_by_time_and_metadata_with_a_count(self, acme):
        """The first instant is included, the last is not; a value that is no string is compared as JSON."""
        scenes = [acme.submit(metadata={"scene": scene, "reel.of": "a b"}) for scene in (1, "1", True, [1, 2])]
        ids = [job["id"] for job in scenes]

        def found(**query):
            page = acme.get("/v1/jobs", query_string={"count": "true", **query}).json
            assert page["next_cursor"] is None and page["count"] == {"jobs": len(page["data"]), "exact": True}
            return [job["id"] for job in page["data"]]

        assert found(**{"metadata.scene": "1"}) == [ids[1], ids[0]] and found(**{"metadata.scene": "true"}) == [ids[2]]
        assert found(**{"metadata.scene": "[1,2]", "metadata.reel.of": "a b"}) == [ids[3]]
        assert found(**{"metadata.scene": "2"}) == found(**{"metadata.take": "1"}) == []
        at = [job["created_at"] for job in scenes]
        assert set(found(created_after=at[0], created_before=in_seconds(60))) == set(ids)
        assert found(created_before=at[0]) == [] == found(created_after=in_seconds(60))
        assert found(created_after=at[0], status="queued", kind="generate", model="transformer") == ids[::-1]

    def test_pages_by_time_and_metadata_lead_on(self, acme, monkeypatch):
        """Each job once, though a page reads few records."""
        monkeypatch.setattr("tasks.ledger.pages.RECORDS_A_READ", 2)
        monkeypatch.setattr("tasks.ledger.pages.RECORDS_A_PAGE", 2)
        jobs = [acme.submit(metadata={"odd": number % 2}) for number in range(7)]
        query = {"metadata.odd": "1", "created_before": in_seconds(60), "limit": 2}
        seen, pages = [], 0
        while query.get("cursor", "") is not None:
            page = acme.get("/v1/jobs", query_string=query).json
            seen, pages = seen + [job["id"] for job in page["data"]], pages + 1
            query["cursor"] = page["next_cursor"]
        assert seen == [job["id"] for job in jobs[::-1] if job["metadata"]["odd"]] and 3 <= pages <= 5

    def test_what_runs_and_what_is_scheduled_is_found_behind_any_number_of_others(self, acme, hand, monkeypatch):
        """By the tenant's own sets: pages are full, and their cursors lead on."""
        monkeypatch.setattr("tasks.ledger.pages.LOOKED_A_PAGE", 1)
        running = [acme.submit()["id"] for _ in range(3)]
        later = acme.submit(start_at=in_seconds(60))["id"]
        for _ in running:
            hand.claim()
        acme.post(f"/v1/jobs/{running[0]}/cancel")
        for _ in range(4):
            acme.submit()
        first = acme.get("/v1/jobs?status=running&limit=1&count=true").json
        assert [job["id"] for job in first["data"]] == [running[2]] and first["count"] == {"jobs": 2, "exact": True}
        rest = acme.get(f"/v1/jobs?status=running&limit=1&cursor={first['next_cursor']}").json
        assert [job["id"] for job in rest["data"]] == [running[1]]
        for status, expected in (("canceling", running[0]), ("scheduled", later)):
            page = acme.get("/v1/jobs", query_string={"status": status, "kind": "generate"}).json
            assert [job["id"] for job in page["data"]] == [expected] and page["next_cursor"] is None

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ({"created_after": "yesterday"}, "/created_after"),
            ({"metadata": "x"}, "/metadata"),
            ({"metadata.": "x"}, "/metadata/"),
            ({f"metadata.{number}": "x" for number in range(6)}, "/metadata"),
            ({"metadata.key": "x" * 1001}, "/metadata/key"),
            ({"count": "perhaps"}, "/count"),
        ],
    )
    def test_a_filter_that_cannot_be_is_named(self, acme, query, pointer):
        refused = problem(acme.get("/v1/jobs", query_string=query), 422, "invalid_input")
        assert [error["pointer"] for error in refused["errors"]] == [pointer]


class TestPrefer:
    @pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "return=minimal", ";;", "x" * 5000])
    def test_preferences_that_mean_nothing_are_passed_over(self, acme, prefer):
        answer = acme.get(path(acme.submit()), headers={"Prefer": prefer})
        assert answer.status_code == 200 and "Preference-Applied" not in answer.headers

    def test_respond_async_is_what_happens_anyway(self, acme):
        answer = acme.get(path(acme.submit()), headers={"Prefer": "respond-async"})
        assert answer.headers["Preference-Applied"] == "respond-async"
