"""POST /v1/batches: a line for each line, what is refused alone and what as a whole, and a batch that is sent again."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from api import keyfile
from api.batch_body import JSON_LINES, LINES_MAX
from api.openapi import document
from api.v1.batches import BatchLine
from tasks.errors import NotReady
from tasks.job import Fixed
from tasks.ledger import Ledger, keys
from tasks.service import jobs, lines
from tasks.service.lines import LINES_A_TRIP
from tests.api.conftest import PROMPT, Caller, problem
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore

LINE = "gpu.generate:transformer@2"
"""The line in which members of batches wait."""
KEY = {"Idempotency-Key": '"reel-1"'}
GOOD = json.dumps(PROMPT).encode()


def lines_of(answer) -> list[dict[str, Any]]:
    """The answer's lines, after looking that each is as the document promises."""
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.content_type == "application/jsonl"
    found = [json.loads(line) for line in answer.data.splitlines()]
    for line in found:
        BatchLine.model_validate(line)
        assert set(line) in ({"line", "job"}, {"line", "error"})
    counts = [sum(name in line for line in found) for name in ("job", "error")]
    assert [int(answer.headers[name]) for name in ("Batch-Accepted", "Batch-Refused")] == counts
    return found


def send(caller: Caller, body: bytes | list[bytes], media_type: str = "application/jsonl", headers=None):
    """The answer with an outcome a line."""
    body = b"\n".join(body) if isinstance(body, list) else body
    headers = {"Accept": "application/jsonl", **(headers or {})}
    return caller.post("/v1/batches", data=body, content_type=media_type, headers=headers)


def ids_of(answer) -> list[str]:
    return [line["job"]["id"] for line in lines_of(answer) if "job" in line]


def jobs_of(ledger: Ledger, tenant: str = "acme") -> list[str]:
    return ledger.redis.zrange(keys.tenant_jobs(tenant), 0, -1)


def numbered(count: int) -> list[bytes]:
    return [json.dumps({**PROMPT, "metadata": {"n": number}}).encode() for number in range(1, count + 1)]


class TestLines:
    def test_each_line_is_a_job_in_the_order_given(self, acme, ledger):
        """Ids sort as the lines do, the waiting line has their order, and each job is that of its line."""
        found = lines_of(send(acme, numbered(250)))
        assert [line["line"] for line in found] == [*range(1, 251)]
        ids = [line["job"]["id"] for line in found]
        assert ids == sorted(ids) == jobs_of(ledger)
        assert ledger.redis.zrange(keys.line(LINE), 0, -1) == ids
        for line in (found[0], found[99], found[249]):
            looked = acme.get(line["job"]["links"]["self"]).json
            assert (looked["id"], looked["metadata"]["n"]) == (line["job"]["id"], line["line"])
            assert looked["status"] == line["job"]["status"] == "queued"

    def test_a_bad_line_stops_no_other(self, acme, ledger):
        """Each is refused with the words and the status of POST /v1/jobs."""
        bad: dict[bytes, tuple[int, str]] = {
            b"{": (400, "malformed"),
            b"[" + GOOD + b"]": (422, "invalid_input"),
            b'"generate"': (422, "invalid_input"),
            b"null": (422, "invalid_input"),
            b'{"kind": "generate", "kind": "generate", "input": {"prompt": "x"}}': (400, "malformed"),
            b'{"kind": "generate", "input": {"prompt": "x", "prompt": "y"}}': (400, "malformed"),
            b'{"kind": "dance"}': (422, "unknown_model"),
            json.dumps({**PROMPT, "model": "nobody"}).encode(): (422, "unknown_model"),
            json.dumps({**PROMPT, "urgent": 1}).encode(): (422, "invalid_input"),
            json.dumps({**PROMPT, "start_at": "2026-12-01"}).encode(): (422, "invalid_input"),
            b'{"kind": "generate", "input": {"prompt": "\\ud800"}}': (400, "malformed"),
            b'{"kind":"generate","input":{"prompt":"x"},"metadata":' + b"[" * 2000 + b"]" * 2000 + b"}": (
                400,
                "malformed",
            ),
            json.dumps({**PROMPT, "metadata": {"n": 2**64}}).encode(): (422, "invalid_input"),
            json.dumps({**PROMPT, "input": {"prompt": {"url": "upload:upload_" + "0" * 26}}}).encode(): (
                422,
                "invalid_input",
            ),
        }
        body = [line for one in bad for line in (one, GOOD)]
        found = lines_of(send(acme, body))
        assert len(jobs_of(ledger)) == len(bad) == sum("job" in line for line in found)
        for text, told in zip(bad, found[::2], strict=True):
            alone = acme.post("/v1/jobs", data=text, content_type="application/json")
            assert (alone.status_code, alone.json["code"]) == bad[text]
            assert told["error"] == {name: alone.json[name] for name in told["error"]}, text
            assert ("errors" in told["error"]) == ("errors" in alone.json)

    @pytest.mark.parametrize("media_type", ["application/jsonl", "application/x-ndjson; charset=utf-8"])
    def test_ends_of_lines_are_as_files_have_them(self, acme, media_type):
        """CRLF, a byte order mark, empty lines, no end of the last line: the numbers are those an editor shows."""
        body = b"\xef\xbb\xbf" + b"\r\n".join([GOOD, b"", b"  \t", GOOD, b"", GOOD])
        assert [line["line"] for line in lines_of(send(acme, body, media_type))] == [1, 4, 6]
        assert [line["line"] for line in lines_of(send(acme, GOOD + b"\n", media_type))] == [1]

    def test_letters_that_look_like_ends_of_lines_are_none(self, acme):
        """U+2028, U+0085 and a form feed within a text do not end its line."""
        text = "a\u2028b\u0085c"
        (line,) = lines_of(send(acme, json.dumps({**PROMPT, "metadata": {"t": text}}, ensure_ascii=False).encode()))
        assert acme.get(line["job"]["links"]["self"]).json["metadata"]["t"] == text

    def test_kinds_of_the_key_hold_for_each_line(self, app, settings):
        made = app.test_client()
        made.key = keyfile.add(settings.keys_file, "acme", kinds=["caption"])
        app.extensions["backlot"].keys._checked = float("-inf")
        caption = b'{"kind": "caption", "input": {"image": "https://example.com/a.png"}}'
        refused, accepted = lines_of(send(made, [GOOD, caption]))
        assert refused["error"]["code"] == "forbidden"
        assert "job" in accepted

    def test_a_job_to_start_later_is_scheduled(self, acme):
        later = json.dumps({**PROMPT, "start_at": "2027-11-30T00:00:00Z"}).encode()
        assert [line["job"]["status"] for line in lines_of(send(acme, [later, GOOD]))] == ["scheduled", "queued"]

    def test_long_texts_go_to_the_bucket_in_their_place(self, acme, ledger, storage):
        """A line whose text is over 32 KiB is stored, then recorded, before the lines behind it."""
        long = json.dumps({**PROMPT, "input": {"prompt": "ü" * 20_000}}).encode()
        ids = ids_of(send(acme, [GOOD, long, GOOD, long]))
        assert jobs_of(ledger) == ids and len(ids) == 4
        for job_id in (ids[1], ids[3]):
            (upload,) = Fixed.model_validate_json(ledger.record(job_id)["fixed"]).uploads.values()
            assert storage.get_bytes(upload.key).decode() == "ü" * 20_000

    def test_an_upload_that_many_lines_name_is_looked_up_once(self, acme, app, ledger, monkeypatch):
        upload = acme.post("/v1/uploads", json={"name": "films.csv", "bytes": 3}).json
        storage = app.extensions["backlot"].jobs.storage
        storage.put_bytes(f"tenants/acme/uploads/{upload['id']}/films.csv", b"a,b", "text/csv")
        listed: list[str] = []
        usual = storage.list
        monkeypatch.setattr(storage, "list", lambda prefix: listed.append(prefix) or usual(prefix))
        asked = {"kind": "recommend", "input": {"catalogue": upload["source"], "history": ["a"]}}
        ids = ids_of(send(acme, [json.dumps(asked).encode()] * 30))
        assert len(ids) == 30 and len(listed) == 1
        assert ledger.redis.scard(keys.upload_jobs("acme", upload["id"])) == 30

    def test_a_defect_that_a_line_meets_is_that_lines_alone(self, acme, monkeypatch):
        """What cannot be shown is not recorded; the others are."""
        usual = jobs.fresh
        odd = lambda fixed, now: usual(fixed, now) if fixed.priority == 0 else 1 / 0  # noqa: E731
        monkeypatch.setattr(lines, "fresh", odd)
        found = lines_of(send(acme, [GOOD, json.dumps({**PROMPT, "priority": 1}).encode(), GOOD]))
        assert ["job" in line for line in found] == [True, False, True]
        assert found[1]["error"]["code"] == "internal" and "ZeroDivision" not in json.dumps(found)

    def test_doorbells_are_rung_for_a_trip_not_for_a_job(self, acme, ledger, settings):
        """No more than are wanted, but for those of one trip, whose jobs see the same number of bells."""
        send(acme, numbered(150))
        assert settings.bells <= ledger.redis.llen("gpu.generate") < settings.bells + LINES_A_TRIP

    def test_a_prefix_of_a_trusted_proxy_is_in_the_links(self, acme):
        answer = acme.post(
            "/v1/batches",
            data=GOOD,
            content_type="application/jsonl",
            headers={"Accept": "application/jsonl"},
            environ_overrides={"SCRIPT_NAME": "/studio"},
        )
        (line,) = lines_of(answer)
        assert line["job"]["links"]["self"] == f"/studio/v1/jobs/{line['job']['id']}"


class TestWhole:
    """What is refused as a whole has made no job."""

    def test_a_body_has_so_many_lines_and_no_more(self, acme, ledger):
        """Counted with empty ones, so that nobody is kept busy with those."""
        most = GOOD + b"\n" * LINES_MAX
        assert len(ids_of(send(acme, most))) == 1
        told = problem(send(acme, most + b" "), 413, "too_large")
        assert f"{LINES_MAX:,} lines" in told["detail"]
        assert len(jobs_of(ledger)) == 1

    @pytest.mark.parametrize("media_type", ["text/plain", "application/json-seq", None])
    def test_another_media_type_is_refused_and_told_which_are_read(self, acme, ledger, media_type):
        told = problem(send(acme, GOOD, media_type), 415, "unsupported_media")
        assert "application/jsonl" in told["detail"] and not jobs_of(ledger)

    @pytest.mark.parametrize("tail", [b'{"kind": "\xff"}', "ü".encode()[:1], b"\xed\xa0\x80"])
    def test_bytes_that_are_no_utf_8_are_told_with_their_line(self, acme, ledger, tail):
        """Also where a character is cut at the end, or at a place where the body is read in parts."""
        body = [GOOD, json.dumps({"n": "ü" * 40_000}, ensure_ascii=False).encode(), tail]
        assert "line 3" in problem(send(acme, body), 400, "malformed")["detail"]
        assert not jobs_of(ledger)

    @pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf"])
    def test_a_body_without_a_line_is_refused(self, acme, body):
        assert "no line" in problem(send(acme, body), 400, "malformed")["detail"]

    @pytest.mark.parametrize("key", ['"a" "b"', "ä", "x" * 256])
    def test_a_malformed_key_is_refused(self, acme, ledger, key):
        problem(send(acme, GOOD, headers={"Idempotency-Key": key.encode().decode("latin-1")}), 400, "malformed")
        assert not jobs_of(ledger)

    def test_a_packed_body_is_refused(self, acme, ledger):
        problem(send(acme, GOOD, headers={"Content-Encoding": "gzip"}), 415, "unsupported_media")
        assert not jobs_of(ledger)

    def test_without_a_ledger_the_whole_is_not_ready(self, acme, ledger):
        ledger.redis.delete(keys.EPOCH)
        answer = send(acme, [b"{", GOOD])
        problem(answer, 503, "not_ready")
        assert int(answer.headers["Retry-After"]) > 0 and not jobs_of(ledger)


class TestSmallBodies:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"json_max_bytes": 300, "upload_max_bytes": 2000})

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    def test_a_line_has_the_bytes_that_a_json_body_may_have(self, acme, end):
        """One more and the line is refused with the limit; the lines around it are not."""
        most, over = (GOOD.ljust(size, b" ") for size in (300, 301))
        found = lines_of(send(acme, GOOD + b"\n" + over + b"\n" + b"x" * 900 + b"\n" + most + end))
        assert ["job" in line for line in found] == [True, False, False, True]
        for line in found[1:3]:
            assert line["error"]["code"] == "too_large" and "300 bytes" in line["error"]["detail"]

    def test_a_body_has_the_bytes_that_a_form_may_have(self, acme, ledger):
        assert len(ids_of(send(acme, GOOD.ljust(299) + b"\n" + b" " * 1700))) == 1
        told = problem(send(acme, GOOD.ljust(299) + b"\n" + b" " * 1701), 413, "too_large")
        assert "JSON lines 2,000" in told["detail"] and len(jobs_of(ledger)) == 1


class TestQuotas:
    """They are taken for all lines at once, so a batch is over one as a whole, and has then made no job."""

    @pytest.fixture
    def settings(self, settings, request):
        return settings.model_copy(update=request.param)

    @pytest.mark.parametrize("settings", [{"submits_per_minute": 4}], indirect=True)
    def test_submits_a_minute(self, acme, rival, ledger):
        """The refused lines of a batch are given back."""
        answer = send(acme, [*numbered(2), b"{"])
        assert answer.headers["RateLimit"].startswith('"submits";r=2;t=') and len(ids_of(answer)) == 2
        refused = send(acme, numbered(3))
        problem(refused, 429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 15
        assert len(ids_of(send(acme, numbered(2)))) == 2 and len(jobs_of(ledger)) == 4
        assert "4 a minute" in problem(send(acme, numbered(5)), 413, "too_large")["detail"]
        assert len(ids_of(send(rival, numbered(4)))) == 4

    @pytest.mark.parametrize("settings", [{"max_waiting_jobs": 3}], indirect=True)
    def test_waiting_jobs(self, acme, ledger):
        assert "3 jobs waiting" in problem(send(acme, numbered(4)), 413, "too_large")["detail"]
        first = ids_of(send(acme, numbered(2)))
        assert "2 of your jobs wait" in problem(send(acme, numbered(2), headers=KEY), 429, "quota_exceeded")["detail"]
        acme.post(f"/v1/jobs/{first[0]}/cancel")
        assert len(ids_of(send(acme, numbered(2), headers=KEY))) == 2
        problem(acme.post("/v1/jobs", json=PROMPT), 429, "quota_exceeded")
        assert len(jobs_of(ledger)) == 4

    @pytest.mark.parametrize("settings", [{"max_waiting_jobs": 10}], indirect=True)
    def test_lines_that_have_yet_to_make_jobs_count_as_waiting(self, acme, app, ledger, monkeypatch):
        """A batch that stopped half-way leaves no room for another; sent again it has its own."""
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as broken:
            broken.setattr(real, "submit_many", away_from(0, real.submit_many))
            send(acme, numbered(8), headers=KEY)
        problem(send(acme, numbered(3)), 429, "quota_exceeded")
        assert len(ids_of(send(acme, numbered(8), headers=KEY))) == 8
        assert len(ids_of(send(acme, numbered(2)))) == 2 and not ledger.redis.exists(keys.receiving("acme"))

    @pytest.mark.parametrize("settings", [{"max_stored_bytes": 50_000}], indirect=True)
    def test_stored_bytes(self, acme, storage):
        """A text that is too long for the record is charged, and one over the quota is refused alone."""
        long = json.dumps({**PROMPT, "input": {"prompt": "x" * 40_000}}).encode()
        found = lines_of(send(acme, [long, long, GOOD]))
        assert ["job" in line for line in found] == [True, False, True]
        assert found[1]["error"]["code"] == "quota_exceeded"
        assert len(list(storage.list("tenants/acme/uploads/"))) == 1

    @pytest.mark.parametrize("settings", [{"max_record_bytes": 6000}], indirect=True)
    def test_bytes_of_records(self, acme, ledger):
        told = problem(send(acme, numbered(20)), 429, "quota_exceeded")
        assert "6,000" in told["detail"] and not jobs_of(ledger)
        assert len(ids_of(send(acme, numbered(2)))) == 2
        held = int(ledger.redis.hget(keys.HELD, "acme"))
        assert held == sum(int(size) for size in ledger.redis.hvals(keys.held("acme"))) < 6000


class TestSentAgain:
    def test_the_same_batch_makes_its_jobs_once(self, acme, ledger, hand):
        """The answer tells each job as it is now."""
        body = [GOOD, b"{", GOOD]
        first = send(acme, body, headers=KEY)
        hand.finish(hand.claim())
        again = send(acme, body, headers=KEY)
        assert ids_of(again) == ids_of(first) == jobs_of(ledger)
        assert [line["job"]["status"] for line in lines_of(again) if "job" in line] == ["succeeded", "queued"]
        assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
        assert len([e for _, e in ledger.redis.xrange(keys.JOURNAL) if e["type"] == "accepted"]) == 2

    def test_lines_with_long_texts_are_made_once_too(self, acme, ledger, storage):
        """Each of them ends a trip, of which several were read before the key's batch was known."""
        long = json.dumps({**PROMPT, "input": {"prompt": "x" * 40_000}}).encode()
        body = [long, GOOD, long, GOOD, long]
        first, again = (ids_of(send(acme, body, headers=KEY)) for _ in range(2))
        assert first == again == jobs_of(ledger) and len(first) == 5
        assert len(list(storage.list("tenants/acme/uploads/"))) == 3

    def test_without_a_key_each_is_a_batch_of_its_own(self, acme, ledger):
        first, second = (ids_of(send(acme, [GOOD, GOOD])) for _ in range(2))
        assert len({*first, *second}) == 4 == len(jobs_of(ledger))
        batches = {acme.get(f"/v1/jobs/{job_id}").json["batch"] for job_id in first}
        assert len(batches) == 1 and acme.get(f"/v1/jobs/{second[0]}").json["batch"] not in batches

    def test_another_body_with_the_key_is_refused_as_a_whole(self, acme, ledger):
        send(acme, [GOOD, GOOD], headers=KEY)
        problem(send(acme, [GOOD, GOOD, GOOD], headers=KEY), 422, "idempotency_key_reused")
        assert len(jobs_of(ledger)) == 2

    def test_a_key_is_a_tenants_own_and_a_batchs_own(self, acme, rival):
        """The same key for a job and for a batch are two."""
        single = acme.post("/v1/jobs", json=PROMPT, headers=KEY)
        ids = [single.json["id"], *ids_of(send(acme, GOOD, headers=KEY)), *ids_of(send(rival, GOOD, headers=KEY))]
        assert len({*ids}) == 3

    def test_a_sealed_batch_is_answered_as_it_is(self, acme):
        """Its refused lines too: whoever mends them sends another batch."""
        first, again = (lines_of(send(acme, [b"{", GOOD, b"[]"], headers=KEY)) for _ in range(2))
        assert first == again and [line["line"] for line in first if "error" in line] == [1, 3]

    def test_a_job_that_was_erased_is_not_made_again(self, acme, ledger):
        first = send(acme, [GOOD, GOOD], headers=KEY)
        erased, kept = ids_of(first)
        acme.post(f"/v1/jobs/{erased}/cancel")
        assert acme.delete(f"/v1/jobs/{erased}").status_code == 204
        for _ in range(2):
            told, other = lines_of(send(acme, [GOOD, GOOD], headers=KEY))
            assert (told["error"]["code"], other["job"]["id"]) == ("gone", kept)
            assert erased in told["error"]["detail"]
        assert jobs_of(ledger) == [kept]

    @pytest.mark.parametrize("trip", [1, 2])
    def test_a_ledger_that_goes_away_in_between_leaves_the_rest_to_be_sent_again(
        self, acme, app, ledger, monkeypatch, trip
    ):
        """The lines of the trips before are jobs; all others say `not_ready`, and are jobs once it is sent again."""
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as broken:
            broken.setattr(real, "submit_many", away_from(trip, real.submit_many))
            found = lines_of(send(acme, numbered(250), headers=KEY))
        assert [line["line"] for line in found if "job" in line] == [*range(1, LINES_A_TRIP * trip + 1)]
        assert {line["error"]["code"] for line in found if "error" in line} == {"not_ready"}
        again = ids_of(send(acme, numbered(250), headers=KEY))
        assert again[: LINES_A_TRIP * trip] == ids_of_lines(found) and len(again) == 250 and jobs_of(ledger) == again

    @pytest.mark.parametrize(
        ("verb", "calls", "made"),
        [("submit_many", 0, 0), ("submit_many", 1, LINES_A_TRIP), ("note_lines", 0, 60), ("note_batch", 0, 60)],
    )
    def test_a_request_that_ended_in_between_is_finished_by_the_next(
        self, acme, app, ledger, monkeypatch, verb, calls, made
    ):
        """As where the process was killed before it asked the ledger once more; nothing was answered."""
        real = app.extensions["backlot"].jobs.ledger
        with monkeypatch.context() as killed:
            killed.setattr(real, verb, killed_from(calls, getattr(real, verb)))
            assert send(acme, numbered(60), headers=KEY).status_code == 500
        assert len(jobs_of(ledger)) == made
        again = send(acme, numbered(60), headers=KEY)
        assert jobs_of(ledger) == ids_of(again) and len(ids_of(again)) == 60

    def test_after_redis_lost_all_the_bucket_knows_what_has_ended(self, acme, ledger, storage, settings, hand):
        """The journal brings the key back; ended jobs are in the bucket alone; nothing is made twice."""
        body = numbered(4)
        first = ids_of(send(acme, body, headers=KEY))
        hand.finish(hand.claim())
        journal = Journal(ledger, storage)
        journal.write_segments()
        journal.write_job_json(for_s=5)
        ledger.redis.flushdb()
        Restore(settings, ledger.redis, storage).run()
        ledger.set_epoch()
        again = send(acme, body, headers=KEY)
        assert ids_of(again) == first
        assert [line["job"]["status"] for line in lines_of(again)] == ["succeeded", "queued", "queued", "queued"]


def ids_of_lines(found: list[dict[str, Any]]) -> list[str]:
    return [line["job"]["id"] for line in found if "job" in line]


def away_from(trip: int, real: Callable) -> Callable:
    """Redis does not answer from this trip on."""
    calls: list[int] = []

    def instead(*given):
        calls.append(1)
        if len(calls) > trip:
            raise NotReady("Redis did not answer (TimeoutError)")
        return real(*given)

    return instead


def killed_from(most: int, real: Callable) -> Callable:
    """The request ends after so many calls."""
    calls: list[int] = []

    def instead(*given):
        calls.append(1)
        if len(calls) > most:
            raise RuntimeError("killed")
        return real(*given)

    return instead


def test_the_documents_example_is_true(acme):
    content = document()["paths"]["/v1/batches"]["post"]["requestBody"]["content"]
    for media_type in JSON_LINES:
        for example in content[media_type]["examples"].values():
            assert len(ids_of(send(acme, example["value"].encode(), media_type))) == 2
    assert re.search("BatchLine", json.dumps(document()["paths"]["/v1/batches"]))
