"""Prices and budgets: what usage costs, a warning at four fifths, and a refusal once all is spent."""

import re
from decimal import Decimal
from types import SimpleNamespace

import pytest

from api import create_app, keyfile
from api.server.lane import Lane
from tasks.models_file import Misconfigured
from tasks.prices import Prices, written
from tasks.service.submits import Submits, Wanted
from tasks.usage import Amounts, Row
from tests.api.conftest import PROMPT, Caller, problem
from tests.stack import ROOT
from worker.keeper.journal import Journal

FILE = """
currency = "EUR"

[[price]]
run_s = 0.5
gb_out = 1000000

[[price]]
kind = "generate"
model = "transformer"
run_s = 1.1

[budget]
acme = 1.4
rival = 1000
"""


@pytest.fixture
def priced(settings, storage, ledger, hand, tmp_path):
    """A deployment with prices. `ended(n)`: so many jobs of acme's ended, of 0.25 s and 7 bytes each: 0.282 EUR."""
    (tmp_path / "prices.toml").write_text(FILE)
    named = settings.model_copy(update={"prices_file": tmp_path / "prices.toml"})
    app = create_app(named)
    app.test_client_class = Caller
    jobs = app.extensions["backlot"].jobs
    jobs.budgets._started.acquire()  # the test alone refreshes

    def caller(tenant: str, scope: str = "tenant") -> Caller:
        made = app.test_client()
        made.key = keyfile.add(settings.keys_file, tenant, scope)
        app.extensions["backlot"].keys._checked = float("-inf")
        return made

    acme = caller("acme")

    def ended(count: int) -> None:
        for _ in range(count):
            acme.submit()
            hand.finish(hand.claim())
        Journal(ledger, storage).write_segment()
        Journal(ledger, storage).write_job_json(for_s=5)
        jobs.budgets.refresh()

    return SimpleNamespace(
        acme=acme, rival=caller("rival"), operator=caller("acme", "operator"), jobs=jobs, ended=ended
    )


def test_usage_tells_the_cost_exactly(priced):
    """0.25 s at 1.1 and 7 bytes at a million a GB."""
    priced.ended(1)
    told = priced.acme.get("/v1/usage?group_by=model").json
    assert told["currency"] == "EUR" and told["total"]["cost"] == told["data"][0]["cost"] == "0.282"


def test_without_prices_there_is_no_cost(acme):
    told = acme.get("/v1/usage").json
    assert told["currency"] is None and told["total"]["cost"] is None


def test_a_submit_is_warned_at_four_fifths_and_refused_once_all_is_spent(priced, hand):
    """1.128 of 1.4 is over four fifths, 1.41 is over all; another tenant goes on."""
    priced.ended(3)
    assert "Backlot-Budget" not in priced.acme.post("/v1/jobs", json=PROMPT).headers
    hand.finish(hand.claim())
    priced.ended(0)
    warned = priced.acme.post("/v1/jobs", json=PROMPT, headers={"Idempotency-Key": "one"})
    assert warned.status_code == 202
    assert warned.headers["Backlot-Budget"].startswith('spent=1.128; budget=1.4; currency="EUR"; resets="20')
    hand.finish(hand.claim())
    priced.ended(0)
    refused = problem(priced.acme.post("/v1/jobs", json=PROMPT), 429, "quota_exceeded")
    assert "cost 1.41 EUR this month, and your budget is 1.4 EUR; it begins anew on 20" in refused["detail"]
    assert not refused["retryable"]
    again = priced.acme.post("/v1/jobs", json=PROMPT, headers={"Idempotency-Key": "one"})
    assert again.status_code == 202 and again.headers["Idempotency-Replayed"] == "true", "a replay makes no job"
    assert priced.rival.post("/v1/jobs", json=PROMPT).status_code == 202
    lines = {"content_type": "application/jsonl"}
    problem(priced.acme.post("/v1/batches", data=b'{"kind": "generate"}', **lines), 429, "quota_exceeded")
    problem(priced.acme.post(warned.json["links"]["retry"]), 429, "quota_exceeded")


def test_the_lane_leaves_a_submit_without_budget_to_flask_and_warns_itself(priced, hand):
    """With the same words: the header in the first case, the refusal in the other."""
    submits, wanted = (
        Submits(priced.jobs),
        Wanted("acme", b'{"kind": "generate", "input": {"prompt": "x"}}', None, None),
    )
    priced.ended(4)
    (accepted,) = submits.submit([wanted])
    assert accepted.budget.startswith("spent=1.128;")
    lane = Lane(SimpleNamespace(jobs=priced.jobs, settings=priced.jobs.settings))
    assert dict(lane._accepted(accepted).headers)["Backlot-Budget"] == accepted.budget
    lane.close()
    hand.finish(hand.claim())
    priced.ended(0)
    assert submits.submit([wanted]) == [None]


def test_a_budget_is_looked_at_without_redis(priced, monkeypatch):
    """Whatever a submit asks is in memory; a figure of a month that is over counts no more."""
    priced.ended(5)
    assert priced.jobs.budgets.is_spent("acme") and not priced.jobs.budgets.is_spent("rival")
    monkeypatch.setattr(priced.jobs.budgets, "_ledger", None)
    assert priced.jobs.budgets.is_spent("acme") and not priced.jobs.budgets.is_spent("nobody")


def test_of_each_unit_the_last_price_that_fits_counts():
    prices = Prices.model_validate(
        {
            "currency": "EUR",
            "price": [
                {"run_s": "1", "pictures": "2"},
                {"pool": "gpu", "run_s": "3"},
                {"kind": "caption", "sound_s": "9"},
            ],
        }
    )
    row, used = Row(1, "gpu", "caption", "cnn", None), Amounts(run_ms=1500, pictures=2, sound_ms=1)
    assert prices.cost(row, used) == Decimal("4.5") + 4 + Decimal("0.009")
    assert prices.cost(Row(1, "cpu", "transcribe", "hmm", None), used) == Decimal("1.5") + 4
    assert [written(Decimal(text)) for text in ("0", "0.10", "1E+3", "100", "1E-9")] == [
        "0",
        "0.1",
        "1000",
        "100",
        "0.000000001",
    ]


def test_the_file_of_the_documents_is_one(tmp_path):
    (text,) = re.findall(r"```toml\n(currency.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    (tmp_path / "prices.toml").write_text(text)
    prices = Prices.read(tmp_path / "prices.toml")
    assert prices.budget == {"acme": 100} and prices.price[1].completion_tokens == Decimal("0.000002")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "currency"),
        ('currency = "EUR"\n[[price]]\nrun = 1', "price.0.run"),
        ('currency = "EUR"\n[[price]]\nrun_s = -1', "price.0.run_s"),
        ('currency = "EUR"\n[budget]\nACME = 1', "budget"),
        ("currency =", "Invalid value"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_place(tmp_path, text, words):
    path = tmp_path / "prices.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Misconfigured, match=words) as wrong:
        Prices.read(path)
    assert str(path) in str(wrong.value)
