"""Keys, uploads, models, pools and health over HTTP."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema_rs
import pytest

from api import create_app, keyfile
from tasks.ledger import keepers, keys
from tasks.registry import KINDS
from tests.api.conftest import PROMPT, problem
from tests.stack import until


class TestKeys:
    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic a2V5", "Bearer ä", "wrong"])
    def test_without_a_known_key_nothing_under_v1_is_answered(self, app, header):
        """Not even whether a path exists."""
        anybody = app.test_client()
        for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/models"), ("GET", "/v1/nowhere"), ("PUT", "/v1/jobs")):
            answer = anybody.open(path, method=method, headers={"Authorization": header})
            problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_new_key_works_and_a_removed_one_stops_without_a_restart(self, app, acme, settings):
        """The file is read again when it changes."""
        assert acme.get("/v1/jobs").status_code == 200
        keyfile.remove(settings.keys_file, keyfile.digest(acme.key))
        until(lambda: acme.get("/v1/jobs").status_code == 401, what="the removed key is refused")

    def test_the_first_callers_of_all_are_known_at_once(self, app, settings):
        """Twenty at one moment, before the file was ever read: none is turned away while another reads it."""
        key = keyfile.add(settings.keys_file, "acme")
        header = {"Authorization": f"Bearer {key}"}
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda _: app.test_client().get("/v1/models", headers=header), range(20))
        assert {answer.status_code for answer in answers} == {200}

    def test_a_broken_key_file_keeps_the_keys_known_before(self, app, acme, settings, caplog):
        assert acme.get("/v1/jobs").status_code == 200
        settings.keys_file.write_text('{"keys": [{"sha256": "' + "a" * 64 + '", "tenant": "Not A Tenant"}]}')
        until(lambda: acme.get("/v1/jobs") and "the keys known before stay" in caplog.text)
        assert acme.get("/v1/jobs").status_code == 200
        assert "a" * 64 not in caplog.text

    def test_the_file_holds_no_key_and_is_its_owners_alone(self, settings):
        key = keyfile.add(settings.keys_file, "acme", name="laptop")
        assert key.removeprefix("bk_") not in settings.keys_file.read_text()
        assert os.stat(settings.keys_file).st_mode & 0o777 == 0o600
        (kept,) = keyfile.read(settings.keys_file)
        assert (kept.sha256, kept.tenant, kept.scope, kept.name) == (keyfile.digest(key), "acme", "tenant", "laptop")

    @pytest.mark.parametrize("tenant", ["", "Acme", "a b", "../x", "a" * 41])
    def test_a_tenant_is_a_plain_word(self, settings, tenant):
        with pytest.raises(ValueError, match="tenant"):
            keyfile.add(settings.keys_file, tenant)
        assert not settings.keys_file.exists()


class TestUploads:
    def test_a_large_file_goes_straight_to_the_bucket(self, acme, ledger, storage):
        """Ask for a place, PUT the bytes there, name it as a job's input."""
        answer = acme.post("/v1/uploads", json={"name": "../talk.wav", "bytes": 8})
        made = answer.json
        assert answer.status_code == 201 and made["source"] == f"upload:{made['id']}"
        assert (made["name"], made["media_type"], made["method"]) == ("talk.wav", "audio/wav", "PUT")
        assert httpx.put(made["url"], content=b"RIFF1234").status_code == 200
        job = acme.submit(kind="transcribe", input={"audio": made["source"]})
        assert ledger.redis.smembers(keys.upload_jobs("acme", made["id"])) == {job["id"]}

    def test_a_new_upload_is_noted_so_that_it_cannot_be_forgotten(self, acme, ledger):
        made = acme.post("/v1/uploads", json={"name": "talk.wav"}).json
        now_ms = int(ledger.redis.time()[0]) * 1000
        ask_at = ledger.redis.zscore(keys.UPLOADS, f"acme/{made['id']}")
        assert now_ms < ask_at <= now_ms + 86_400_000 + 2000

    def test_a_place_without_bytes_is_no_input_yet(self, acme):
        made = acme.post("/v1/uploads", json={"name": "talk.wav"}).json
        answer = acme.post("/v1/jobs", json={"kind": "transcribe", "input": {"audio": made["source"]}})
        assert "nothing has been put there" in problem(answer, 422, "invalid_input")["detail"]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/name"),
            ({"name": ""}, "/name"),
            ({"name": "a", "bytes": 0}, "/bytes"),
            ({"name": 5}, "/name"),
            ({"name": "a", "bytes": 6 * 2**30}, "/bytes"),
            ({"name": "a", "size": 1}, "/size"),
            ([], ""),
        ],
    )
    def test_what_does_not_fit_is_named(self, acme, body, pointer):
        found = problem(acme.post("/v1/uploads", json=body), 422, "invalid_input")
        assert found["errors"][0]["pointer"] == pointer

    def test_a_body_that_is_none_is_refused(self, acme):
        problem(acme.post("/v1/uploads", data=b"{", content_type="application/json"), 400, "malformed")
        problem(acme.post("/v1/uploads", data={"name": "a"}), 415, "unsupported_media")


class TestModels:
    def test_every_model_is_listed_with_one_default_a_kind(self, acme):
        models = acme.get("/v1/models").json["data"]
        assert {model["kind"] for model in models} == set(KINDS)
        assert sorted(model["kind"] for model in models if model["default"]) == sorted(KINDS)

    def test_a_model_shows_its_contract_as_json_schema(self, acme):
        """The schema judges as the service does."""
        found = acme.get("/v1/models/generate/lstm").json
        assert found["limits"]["run_timeout_s"] == 300 and found["pool"] == "gpu"
        assert found["limits"]["input_bytes"] == {"prompt": 2**20}
        params = jsonschema_rs.validator_for(found["params"])
        assert params.is_valid({"max_tokens": 5}) and not params.is_valid({"max_tokens": 0})
        assert not params.is_valid({"speed": 1}) and found["result"]["properties"]["text"]

    def test_another_name_is_not_found(self, acme):
        assert "lstm" in problem(acme.get("/v1/models/generate/gpt-9"), 404, "not_found")["detail"]


class TestPools:
    def test_an_operator_sees_what_waits_runs_and_works(self, operator, acme, hand, ledger):
        acme.submit(), acme.submit()
        hand.claim()
        pool = operator.get("/v1/pools/gpu").json
        assert (pool["waiting"], pool["running"], pool["wanted"]) == (1, 1, 2)
        assert pool["oldest_wait_s"] >= 0 and pool["swept_s"] is None
        (worker,) = pool["workers"]
        assert (worker["id"], worker["host"], worker["slots"], worker["running"]) == ("hand", "studio", 2, 1)
        assert worker["queues"] == ["gpu.generate"] and worker["draining"] is False

    def test_the_longest_wait_is_that_of_the_job_that_came_first(self, operator, acme, ledger):
        """Of any model of the pool, also where a later one is served before it; a damaged record hides no other."""
        first, damaged = acme.submit(priority=-10), acme.submit()
        acme.submit(priority=10)
        long_ago_ms = float(ledger.redis.hget(keys.job(first["id"]), "since_ms")) - 60_000
        ledger.redis.hset(keys.job(first["id"]), "since_ms", int(long_ago_ms))
        ledger.redis.hset(keys.job(damaged["id"]), "since_ms", "yesterday")
        assert 60 <= operator.get("/v1/pools/gpu").json["oldest_wait_s"] < 90

    def test_a_worker_that_cannot_be_read_hides_no_other(self, operator, hand, ledger):
        hand.claim()
        ledger.redis.hset(keys.worker("odd"), mapping={"pool": "gpu", "slots": "many"})
        ledger.redis.zadd(keys.WORKERS, {"odd": 1e15})
        assert [worker["id"] for worker in operator.get("/v1/pools/gpu").json["workers"]] == ["hand"]

    def test_an_empty_pool_is_a_pool(self, operator, ledger):
        ledger.sweep("cpu")
        pool = operator.get("/v1/pools").json["data"][0]
        assert (pool["name"], pool["waiting"], pool["wanted"], pool["oldest_wait_s"]) == ("cpu", 0, 0, None)
        assert pool["swept_s"] >= 0 and pool["workers"] == []

    def test_the_keepers_duties_are_shown_beside_the_pools(self, operator, ledger):
        """None lives: that is said too."""
        assert operator.get("/v1/pools").json["keeper"] == {"alive": 0, "duties": []}
        keepers.tell(ledger.redis, "k", {"trash": keepers.Standing(None, 30, 2, 1, "away")})
        keeper = operator.get("/v1/pools").json["keeper"]
        assert keeper == {
            "alive": 1,
            "duties": [
                {"name": "trash", "succeeded_s": None, "late": True, "errors": 2, "skipped": 1, "error": "away"}
            ],
        }

    def test_a_tenants_key_is_not_enough(self, acme):
        problem(acme.get("/v1/pools"), 403, "forbidden")
        problem(acme.get("/v1/pools/gpu"), 403, "forbidden")

    def test_another_pool_is_not_found(self, operator):
        assert "cpu, gpu" in problem(operator.get("/v1/pools/tpu"), 404, "not_found")["detail"]


class TestHealth:
    def test_a_person_is_told_where_to_look(self, app):
        anybody = app.test_client()
        plain, page = anybody.get("/"), anybody.get("/", headers={"Accept": "text/html"})
        assert plain.mimetype == "text/plain" and page.mimetype == "text/html"
        assert b"/openapi.json" in plain.data and b"/openapi.json" in page.data

    def test_ready_with_redis_and_bucket(self, app):
        anybody = app.test_client()
        assert anybody.get("/healthz").json["status"] == "ok"
        assert anybody.get("/readyz").json == {"status": "ok", "redis": "ok", "bucket": "ok"}

    def test_not_ready_before_the_keeper_has_reconciled(self, app, acme, ledger):
        """And no job is taken: 503, to be asked again."""
        ledger.redis.delete(keys.EPOCH)
        for answer in (app.test_client().get("/readyz"), acme.post("/v1/jobs", json=PROMPT)):
            assert problem(answer, 503, "not_ready")["retryable"] and int(answer.headers["Retry-After"]) > 0

    def test_not_ready_on_a_redis_that_may_drop_jobs(self, app, ledger):
        ledger.redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "noeviction" in problem(app.test_client().get("/readyz"), 503, "not_ready")["detail"]
        finally:
            ledger.redis.config_set("maxmemory-policy", "noeviction")

    def test_a_bucket_that_is_away_degrades(self, settings, ledger):
        """Still 200: jobs can be seen, canceled, and submitted where they bring no file."""
        app = create_app(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"}))
        answer = app.test_client().get("/readyz")
        assert answer.status_code == 200 and answer.json["status"] == "degraded" and answer.json["bucket"]

    def test_a_defect_is_told_without_a_traceback(self, app, acme, monkeypatch, caplog):
        """The answer has a reference, the log has the rest."""

        def fall(*_):
            raise ZeroDivisionError("the secret of the house")

        monkeypatch.setattr(app.extensions["backlot"].jobs, "get", fall)
        body = problem(acme.get("/v1/jobs/job_x"), 500, "internal")
        assert "secret" not in json.dumps(body) and "Traceback" not in json.dumps(body)
        assert body["detail"].split()[-1] in caplog.text and "the secret of the house" in caplog.text
