"""GET /v1/usage: a tenant sees its own alone, an operator all; days and names have bounds that are told."""

from datetime import UTC, datetime, timedelta

import pytest

from api import create_app, keyfile
from tasks.errors import WorkerLost
from tasks.usage import first_kept
from tests.api.conftest import Caller, problem
from worker.keeper.journal import Journal


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def day(ahead: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=ahead):%Y-%m-%d}"


@pytest.fixture
def counted(ledger, storage):
    """Has the keeper count all that has ended."""

    def count() -> None:
        Journal(ledger, storage).write_segment()
        Journal(ledger, storage).write_job_json(for_s=5)

    return count


@pytest.fixture
def used(acme, rival, hand, ledger, counted) -> None:
    """Two jobs of acme's, of which one was lost once, and one of rival's."""
    for who in (acme, rival):
        who.submit()
        hand.finish(hand.claim())
    acme.submit(max_attempts=2)
    claimed = hand.claim()
    ledger.fail(claimed.fixed.id, claimed.token, WorkerLost("killed"))
    hand.finish(hand.claim())
    counted()


def test_a_tenant_reads_its_own_usage(acme, used):
    told = acme.get("/v1/usage").json
    assert told["last_day"] == today() and told["first_day"] == today()[:8] + "01"
    (group,) = told["data"]
    assert group["group"] == {} and told["group_by"] == []
    assert group["jobs"] == {"succeeded": 2, "failed": 0, "canceled": 0, "expired": 0}
    assert (group["attempts"], group["retries"], group["retry_share"]) == (3, 1, 0.3333)
    assert (group["prompt_tokens"], group["run_s"]) == (0, pytest.approx(0.5, abs=0.4))
    assert told["total"] == {name: value for name, value in group.items() if name != "group"}


def test_groups_are_those_of_the_names_and_a_key_is_told_by_its_id(acme, app, used):
    key = next(key for key in app.extensions["backlot"].keys.all() if key.tenant == "acme" and key.scope == "tenant")
    told = acme.get("/v1/usage?group_by=day,key,kind,model").json
    assert [one["group"] for one in told["data"]] == [
        {"day": today(), "key": key.id, "kind": "generate", "model": "transformer"}
    ]


def test_an_operator_reads_all_tenants_or_one(operator, used):
    told = operator.get("/v1/usage?group_by=tenant").json
    assert [(one["group"]["tenant"], one["jobs"]["succeeded"]) for one in told["data"]] == [("acme", 2), ("rival", 1)]
    assert told["total"]["attempts"] == 4
    assert operator.get("/v1/usage?tenant=rival").json["total"]["attempts"] == 1


def test_a_tenant_reads_no_other_and_does_not_group_by_tenant(rival, used):
    problem(rival.get("/v1/usage?tenant=acme"), 403, "forbidden")
    problem(rival.get("/v1/usage?group_by=tenant"), 403, "forbidden")
    assert rival.get("/v1/usage?tenant=rival").json["total"]["attempts"] == 1


def test_without_usage_there_is_no_group(rival):
    told = rival.get("/v1/usage?group_by=model").json
    assert told["data"] == [] and told["total"]["attempts"] == 0 and told["total"]["retry_share"] is None


def test_a_job_of_another_day_is_not_counted(acme, used):
    assert acme.get(f"/v1/usage?from={today()}&to={today()}").json["total"]["attempts"] == 3
    first = first_kept(datetime.now(UTC).date())
    assert acme.get(f"/v1/usage?from={first}&to={day(-1)}").json["total"]["attempts"] == 0


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        (lambda: f"from={today()}&to={day(-1)}", "/from", "is after `to`"),
        (lambda: f"to={day(1)}", "/to", "is after today"),
        (lambda: f"from={first_kept(datetime.now(UTC).date()) - timedelta(days=1)}", "/from", "usage is kept from"),
        (lambda: "from=1796000000", "/from", "YYYY-MM-DD"),
        (lambda: "from=2026-02-30", "/from", "day"),
        (lambda: "group_by=colour", "/group_by", "'colour' is none of tenant, day, key, kind, model"),
        (lambda: "group_by=metadata.project", "/group_by", "is none of"),
        (lambda: "group_by=kind,kind", "/group_by", "names kind twice"),
        (lambda: "first=2026-01-01", "/first", ""),
    ],
)
def test_what_cannot_be_asked_is_refused(acme, query, pointer, words):
    refused = problem(acme.get(f"/v1/usage?{query()}"), 422, "invalid_input")
    assert [error["pointer"] for error in refused["errors"]] == [pointer] and words in refused["errors"][0]["detail"]


def test_a_metadata_key_that_the_operator_has_named_groups(settings, storage, ledger, hand):
    """One at a time; a job without the key is in the group of null."""
    named = settings.model_copy(update={"usage_metadata": ["project", "team"]})
    app = create_app(named)
    app.test_client_class = Caller
    caller = app.test_client()
    caller.key = keyfile.add(settings.keys_file, "acme")
    for metadata in ({"project": "film"}, {"project": "series"}, {"project": "film"}, {}):
        caller.submit(metadata=metadata)
        hand.finish(hand.claim())
    ledger.settings = named
    Journal(ledger, storage).write_segment()
    Journal(ledger, storage).write_job_json(for_s=5)
    told = caller.get("/v1/usage?group_by=metadata.project").json
    assert [(one["group"]["metadata.project"], one["jobs"]["succeeded"]) for one in told["data"]] == [
        (None, 1),
        ("film", 2),
        ("series", 1),
    ]
    refused = problem(caller.get("/v1/usage?group_by=metadata.project,metadata.team"), 422, "invalid_input")
    assert "name one" in refused["detail"]
