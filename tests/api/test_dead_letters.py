"""Dead letters over HTTP: list, look, replay one or many, purge. Jobs fail by hand; their index is the ledger's own."""

import pytest

from tasks.errors import ModelFailed, StorageUnavailable, WorkerLost
from tasks.service.jobs import Jobs
from tests.api.conftest import problem

AWAY, LOST = StorageUnavailable("the bucket did not answer"), WorkerLost("the process died")


@pytest.fixture
def die(acme, hand):
    """die(prompt): a job of acme's that ends after its only attempt; its id."""

    def die(prompt: str = "Once", error=AWAY, **changes) -> str:
        job = acme.submit(input={"prompt": prompt}, max_attempts=1, **changes)
        claimed = hand.claim()
        hand.ledger.fail(claimed.fixed.id, claimed.token, error)
        return job["id"]

    return die


def ids(answer) -> list[str]:
    return [job["id"] for job in answer.json["data"]]


def test_one_is_listed_looked_at_and_replayed(acme, hand, die):
    """The new job has the old request, names the old one, and takes it off the list."""
    old = die("Once upon", metadata={"take": 1})
    die(error=ModelFailed("boom"))
    assert ids(acme.get("/v1/dead-letters")) == [old]
    looked_at = acme.get(f"/v1/jobs/{old}").json
    assert looked_at["error"]["code"] == "storage_unavailable" and len(looked_at["attempts"]) == 1
    new = acme.post(f"/v1/jobs/{old}/retry").json
    assert (new["retry_of"], new["input"], new["metadata"]) == (old, {"prompt": "Once upon"}, {"take": 1})
    assert ids(acme.get("/v1/dead-letters")) == []
    assert acme.get(f"/v1/jobs/{old}").json["status"] == "failed"


def test_many_are_replayed_once(acme, hand, die):
    """Also where the call is sent again, or another comes with another key."""
    old = [die(f"Once {n}") for n in range(3)]
    first = acme.post("/v1/dead-letters/replay?limit=2", headers={"Idempotency-Key": "one"})
    assert first.status_code == 202
    assert [job["retry_of"] for job in first.json["data"]] == [old[2], old[1]]
    again = acme.post("/v1/dead-letters/replay?limit=2", headers={"Idempotency-Key": "one"})
    assert ids(again) == ids(first) and again.json["next_cursor"] == first.json["next_cursor"]
    rest = acme.post(f"/v1/dead-letters/replay?cursor={first.json['next_cursor']}", headers={"Idempotency-Key": "two"})
    assert [job["retry_of"] for job in rest.json["data"]] == [old[0]] and rest.json["next_cursor"] is None
    assert acme.post("/v1/dead-letters/replay").json["data"] == []
    assert {hand.claim().fixed.retry_of for _ in old} == set(old) and hand.claim() is None


def test_many_are_replayed_otherwise(acme, die):
    """One merge patch for all; one that it does not fit is refused alone, and another patch is another replay."""
    cut, plain = die("Once", params={"on_long_prompt": "cut"}), die("Once more", params={"seed": 4})
    patch, key = {"model": "lstm", "priority": 3}, {"Idempotency-Key": "k"}
    done = acme.post("/v1/dead-letters/replay", json={"patch": patch}, headers=key).json
    assert [(job["retry_of"], job["model"], job["changed"]) for job in done["data"]] == [(plain, "lstm", patch)]
    assert [one["id"] for one in done["refused"]] == [cut] and ids(acme.get("/v1/dead-letters")) == [cut]
    again = acme.post("/v1/dead-letters/replay", json={"patch": patch}, headers=key)
    assert ids(again) == [job["id"] for job in done["data"]] and again.json["refused"] == done["refused"]
    problem(acme.post("/v1/dead-letters/replay", headers=key), 422, "idempotency_key_reused")
    problem(acme.post("/v1/dead-letters/replay", json={"model": "lstm"}), 422, "invalid_input")


def test_a_replay_that_broke_off_goes_on_under_its_key(acme, hand, die, monkeypatch):
    """The plan is kept before any of it is done: no job is made twice and none is left out."""
    old = {die(f"Once {n}") for n in range(3)}
    accept, made = Jobs.accept, []

    def once(self, fixed, **more):
        if made:
            raise ConnectionError("the process died here")
        made.append(fixed.id)
        return accept(self, fixed, **more)

    monkeypatch.setattr(Jobs, "accept", once)
    problem(acme.post("/v1/dead-letters/replay", headers={"Idempotency-Key": "k"}), 500, "internal")
    monkeypatch.setattr(Jobs, "accept", accept)
    done = acme.post("/v1/dead-letters/replay", headers={"Idempotency-Key": "k"}).json["data"]
    assert made[0] in [job["id"] for job in done] and {job["retry_of"] for job in done} == old
    assert len({hand.claim().fixed.id for _ in old}) == 3 and hand.claim() is None


def test_a_key_belongs_to_one_choice(acme, die):
    die()
    acme.post("/v1/dead-letters/replay", headers={"Idempotency-Key": "k"})
    other = acme.post("/v1/dead-letters/replay?kind=caption", headers={"Idempotency-Key": "k"})
    problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("kind=generate", True),
        ("kind=caption", False),
        ("model=transformer", True),
        ("model=lstm", False),
        ("error_code=worker_lost", True),
        ("error_code=timeout", False),
        ("older_than_s=0", True),
        ("older_than_s=3600", False),
    ],
)
def test_a_filter_chooses_the_same_for_all_three(acme, die, words, fits):
    """What the list shows is what a replay or a purge takes."""
    old = die(error=LOST)
    wanted = [old] if fits else []
    assert ids(acme.get(f"/v1/dead-letters?{words}")) == wanted
    assert [job["retry_of"] for job in acme.post(f"/v1/dead-letters/replay?{words}").json["data"]] == wanted
    left = ids(acme.get("/v1/dead-letters"))
    assert left == ([] if fits else [old])
    assert ids(acme.delete(f"/v1/dead-letters?{words}")) == []


def test_a_purge_erases_so_many_and_says_where_to_go_on(acme, die):
    old = [die(f"Once {n}") for n in range(3)]
    first = acme.delete("/v1/dead-letters?limit=2").json
    assert [one["id"] for one in first["data"]] == [old[2], old[1]]
    rest = acme.delete(f"/v1/dead-letters?cursor={first['next_cursor']}").json
    assert [one["id"] for one in rest["data"]] == [old[0]] and rest["next_cursor"] is None
    problem(acme.get(f"/v1/jobs/{old[0]}"), 410, "gone")


def test_another_tenants_are_neither_seen_nor_touched(rival, acme, die):
    old = die()
    assert ids(rival.get("/v1/dead-letters")) == ids(rival.delete("/v1/dead-letters")) == []
    assert rival.post("/v1/dead-letters/replay").json["data"] == []
    assert ids(acme.get("/v1/dead-letters")) == [old]


def test_a_limit_met_on_the_way_ends_the_call_and_the_rest_follows(app, acme, die, monkeypatch):
    """What was replayed is told; the first that was not is where the next call begins."""
    old = [die(f"Once {n}") for n in range(3)]
    ledger = app.extensions["backlot"].jobs.ledger
    monkeypatch.setattr(ledger, "settings", ledger.settings.model_copy(update={"max_waiting_jobs": 1}))
    done = acme.post("/v1/dead-letters/replay").json
    assert [job["retry_of"] for job in done["data"]] == [old[2]]
    assert [(one["id"], one["error"]["code"]) for one in done["refused"]] == [(old[1], "quota_exceeded")]
    refused = acme.post(f"/v1/dead-letters/replay?cursor={done['next_cursor']}")
    assert problem(refused, 429, "quota_exceeded") and refused.headers["Retry-After"]
    monkeypatch.setattr(ledger, "settings", ledger.settings.model_copy(update={"max_waiting_jobs": 0}))
    rest = acme.post(f"/v1/dead-letters/replay?cursor={done['next_cursor']}").json["data"]
    assert [job["retry_of"] for job in rest] == [old[1], old[0]]


def test_one_whose_model_is_gone_stays_and_the_others_are_replayed(app, acme, die, monkeypatch):
    old = [die(f"Once {n}") for n in range(2)]
    registry = app.extensions["backlot"].jobs.registry
    known, asked = type(registry).model, []

    def gone_once(self, kind, name):
        asked.append(name)
        return known(self, kind, "gone" if len(asked) == 1 else name)

    monkeypatch.setattr(type(registry), "model", gone_once)
    done = acme.post("/v1/dead-letters/replay").json
    assert [(one["id"], one["error"]["code"]) for one in done["refused"]] == [(old[1], "unknown_model")]
    assert [job["retry_of"] for job in done["data"]] == [old[0]]
    assert ids(acme.get("/v1/dead-letters")) == [old[1]]


def test_a_cursor_of_somewhere_else_is_refused(acme):
    for path, method in (("", acme.get), ("", acme.delete), ("/replay", acme.post)):
        problem(method(f"/v1/dead-letters{path}?cursor=nonsense"), 422, "invalid_input")
