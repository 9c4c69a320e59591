"""An operator's key sees, cancels, does again and erases any tenant's job; a tenant's key never another's, whatever it
names."""

import httpx
import pytest

from api.parameters import QUERIES
from tasks.errors import WorkerLost
from tasks.ledger import keys
from tests.api.conftest import as_job, problem, unknown_job


@pytest.fixture
def boss(caller):
    """An operator of another tenant than the jobs'."""
    return caller("ops", "operator")


def test_any_tenants_job_is_looked_at_by_its_id_and_says_whose_it_is(boss, acme, rival):
    for tenant, one in (("acme", acme), ("rival", rival)):
        job = one.submit(metadata={"of": tenant})
        assert as_job(boss.get(f"/v1/jobs/{job['id']}")).tenant == tenant == job["tenant"]
        assert boss.get(f"/v1/jobs/{job['id']}").json["metadata"] == {"of": tenant}


def test_any_tenants_jobs_are_listed_by_its_name(boss, acme, rival):
    mine, theirs = acme.submit()["id"], rival.submit()["id"]
    assert boss.get("/v1/jobs").json["data"] == []
    for tenant, job in (("acme", mine), ("rival", theirs)):
        (row,) = boss.get(f"/v1/jobs?tenant={tenant}&status=queued").json["data"]
        assert (row["id"], row["tenant"]) == (job, tenant)
    assert boss.get("/v1/jobs?tenant=nobody-of-that-name").json["data"] == []


def test_any_tenants_job_is_canceled_done_again_fetched_from_and_erased(boss, acme, hand, ledger):
    """Each as its tenant would have done it: the new job and the outputs are the tenant's."""
    job = acme.submit()["id"]
    assert boss.post(f"/v1/jobs/{job}/cancel").json["status"] == "canceled"
    assert acme.get(f"/v1/jobs/{job}").json["status"] == "canceled"
    again = boss.post(f"/v1/jobs/{job}/retry")
    assert again.status_code == 202 and again.json["tenant"] == "acme"
    assert acme.get(again.headers["Location"]).json["retry_of"] == job
    hand.finish(hand.claim(), "acme's text")
    link = boss.get(f"/v1/jobs/{again.json['id']}/outputs/text.txt").headers["Location"]
    assert httpx.get(link, trust_env=False).text == "acme's text"
    assert boss.delete(f"/v1/jobs/{job}").status_code == 204
    problem(acme.get(f"/v1/jobs/{job}"), 410, "gone")
    assert ledger.redis.zcard(keys.tenant_jobs("ops")) == 0


def test_any_tenants_dead_letters_are_seen_and_purged(boss, acme, hand, ledger):
    acme.submit(max_attempts=1)
    claimed = hand.claim()
    ledger.fail(claimed.fixed.id, claimed.token, WorkerLost("gone"))
    assert boss.get("/v1/dead-letters").json["data"] == []
    (row,) = boss.get("/v1/dead-letters?tenant=acme").json["data"]
    assert row["id"] == claimed.fixed.id and boss.delete("/v1/dead-letters").json["data"] == []
    (made,) = boss.post("/v1/dead-letters/replay?tenant=acme").json["data"]
    assert made["tenant"] == "acme" and made["retry_of"] == claimed.fixed.id


def test_a_job_that_only_the_bucket_knows_is_found_with_its_tenant(boss, acme, hand, ledger, storage):
    """As after a restore: an id alone says not whose it is, and the bucket is not searched for it."""
    job = acme.submit()["id"]
    hand.finish(hand.claim())
    storage.put_bytes(f"tenants/acme/jobs/{job}/job.json", acme.get(f"/v1/jobs/{job}").data, "application/json")
    ledger.redis.delete(keys.job(job))
    problem(boss.get(f"/v1/jobs/{job}"), 404, "not_found")
    assert as_job(boss.get(f"/v1/jobs/{job}?tenant=acme")).tenant == "acme"


def test_what_an_operator_submits_is_its_own_tenants(boss, acme):
    assert boss.submit()["tenant"] == "ops"
    assert acme.get("/v1/jobs").json["data"] == []


@pytest.mark.parametrize(
    ("method", "path"), [route for route in QUERIES if "tenant" in QUERIES[route].model_fields], ids=str
)
def test_a_tenants_key_names_itself_alone(acme, rival, method, path):
    """Another's name is 403 whether there is such a tenant and such a job or not; its own is as good as none."""
    theirs = rival.submit()["id"]
    told = set()
    for tenant in ("rival", "nobody-of-that-name"):
        for job in (theirs, unknown_job()):
            asked = path.replace("{job_id}", job).replace("{name}", "text.txt")
            answer = acme.open(f"{asked}?tenant={tenant}", method=method.upper())
            told.add(problem(answer, 403, "forbidden")["detail"])
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert len(told) == 1
    assert rival.get(f"/v1/jobs/{theirs}").json["status"] == "queued"
    own = path.replace("{job_id}", theirs).replace("{name}", "text.txt")
    named, unnamed = (acme.open(one, method=method.upper()).status_code for one in (f"{own}?tenant=acme", own))
    assert named == unnamed and (named != 403 or path.endswith("/explanation"))  # a tenant's key explains nothing


@pytest.mark.parametrize("tenant", ["Acme", "a" * 41, "", "a/b", "../acme", "acme\n", "*"])
def test_a_tenant_that_is_none_is_refused(boss, tenant):
    for path in ("/v1/jobs", f"/v1/jobs/{unknown_job()}"):
        found = problem(boss.get(path, query_string={"tenant": tenant}), 422, "invalid_input")
        assert found["errors"][0]["pointer"] == "/tenant"
