"""Whatever is accepted can be shown: each number and time of a request has bounds, and a job is seen before it is
recorded."""

import base64
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks import job as contract
from tasks.job import moment
from tasks.ledger import keys
from tests.api.conftest import PROMPT, in_seconds, problem, unknown_job

SECONDS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from(
        [
            0,
            -0.0,
            5e-324,
            1e-9,
            0.0004,
            0.001,
            1,
            300,
            86_400,
            604_800,
            604_801,
            31_536_000,
            2**53,
            1e17,
            1e308,
            10**400,
            "5",
            "1798761600",
            True,
            None,
        ]
    ),
)
OFFSETS = ["Z", "z", "+00:00", "-00:00", "+01:00", "-01:00", "+14:00", "+23:59", "-23:59", "+24:00", "+99:99", ""]
TIMES = st.one_of(
    st.builds(
        lambda at, offset: f"{at:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + offset, st.datetimes(), st.sampled_from(OFFSETS)
    ),
    st.sampled_from(
        [
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00Z",
            "1798761600",
            "1798761600.5",
            1798761600,
            0,
            -1,
            "2026-12-01",
            "2026-12-01T00:00Z",
            "2026-12-01T00:00:00",
            "2026-12-31T23:59:60Z",
            "2026-02-30T00:00:00Z",
            "\u0662026-12-01T00:00:00Z",
            "2026-12-01T00:00:00.1234567891Z",
            "2026-12-01 00:00:00Z",
            "-2026-12-01T00:00:00Z",
            "+12026-12-01T00:00:00Z",
            "now",
            "",
            None,
            [],
            in_seconds(60),
            in_seconds(365 * 86_400 - 60),
            in_seconds(366 * 86_400),
        ]
    ),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308]),
    lambda more: (
        st.lists(more, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["", "__proto__", "\0", "a/b~c", "$ref"]), more, max_size=3
        )
    ),
    max_leaves=8,
)
FIELDS = {
    "start_at": TIMES,
    "queue_ttl_s": SECONDS,
    "run_timeout_s": SECONDS,
    "deadline_s": SECONDS,
    "retention_s": SECONDS,
    "priority": SECONDS,
    "max_attempts": SECONDS,
    "metadata": VALUES | st.dictionaries(st.text(max_size=4), VALUES),
    "params": st.dictionaries(
        st.sampled_from(["seed", "max_tokens", "temperature", "top_p", "stop", "n"]), VALUES, max_size=2
    ),
}


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@example(changes={"start_at": "0001-01-01T00:00:00+01:00"})
@example(changes={"retention_s": 5e-324, "metadata": {"\0": [10**400]}})
@given(
    changes=st.lists(st.sampled_from([*FIELDS]), min_size=1, max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
    )
)
def test_what_is_accepted_can_be_looked_at_and_listed(acme, changes):
    """Of a job with any number, time or value in any field: 202, and it is shown from then on, canceled and done again;
    or 4xx."""
    answer = acme.post("/v1/jobs", data=json.dumps({**PROMPT, **changes}), content_type="application/json")
    assert answer.status_code == 202 or 400 <= answer.status_code < 500, answer.data
    if answer.status_code == 202:
        path = answer.json["links"]["self"]
        looked = acme.get(path)
        assert looked.status_code == 200 and looked.json["metadata"] == answer.json["metadata"]
        assert acme.get("/v1/jobs?limit=5").json["data"][0]["id"] == answer.json["id"]
        canceled = acme.post(f"{path}/cancel")
        assert canceled.status_code in (202, 409)  # one whose time was over at once may have expired
        assert acme.post(f"{path}/retry").status_code in (202, 409)
    assert acme.get("/v1/jobs?limit=100").status_code == 200


@pytest.mark.parametrize(
    ("start_at", "status"),
    [
        ("1970-01-01T00:00:00Z", 202),
        ("1969-12-31T23:59:59Z", 422),
        ("0001-01-01T00:00:00+01:00", 422),
        ("2020-02-29t12:00:00.5+05:30", 202),
        ("1798761600", 422),
        (1798761600, 422),
        ("2026-12-01", 422),
        (365 * 86_400 - 600, 202),
        (365 * 86_400 + 600, 422),
        ("9999-12-31T23:59:59-01:00", 422),
    ],
)
def test_a_start_is_a_time_between_1970_and_a_year_from_now(acme, start_at, status):
    """A number of some years is meant as from now."""
    given = in_seconds(start_at) if isinstance(start_at, int) and start_at < 1e9 else start_at
    answer = acme.post("/v1/jobs", json={**PROMPT, "start_at": given})
    assert answer.status_code == status
    if status == 422:
        assert [error["pointer"] for error in answer.json["errors"]] == ["/start_at"]


def test_a_start_that_is_past_means_now(acme):
    assert acme.submit(start_at="2001-01-01T00:00:00Z")["status"] == "queued"


@pytest.mark.parametrize(
    ("name", "least"), [("queue_ttl_s", 0.001), ("retention_s", 0.001), ("deadline_s", 1), ("run_timeout_s", 1)]
)
def test_a_clock_has_a_least_and_a_most(acme, name, least):
    assert acme.submit(**{name: least})
    for seconds in (least * 0.999, 5e-324, 0, -1, 1e300):
        found = problem(acme.post("/v1/jobs", json={**PROMPT, name: seconds}), 422, "invalid_input")
        assert found["errors"][0]["pointer"] == f"/{name}"


@pytest.mark.parametrize(
    ("value", "status"),
    [(2**53 + 1, 202), (2**64 - 1, 202), (-(2**63), 202), (2**64, 422), (-(2**63) - 1, 422), (1.7e308, 202)],
)
def test_a_number_comes_back_as_it_went_or_is_refused(acme, value, status):
    answer = acme.post("/v1/jobs", json={**PROMPT, "metadata": {"n": [value]}})
    assert answer.status_code == status
    if status == 202:
        assert json.loads(acme.get(answer.json["links"]["self"]).data)["metadata"] == {"n": [value]}
    else:
        assert answer.json["errors"][0]["pointer"] == "/metadata/n/0"


def test_metadata_has_64_levels_at_most(acme):
    def levels(count: int) -> str:
        return '{"kind":"generate","input":{"prompt":"x"},"metadata":' + '{"a":' * count + "1" + "}" * (count + 1)

    answer = acme.post("/v1/jobs", data=levels(64), content_type="application/json")
    assert answer.status_code == 202 and acme.get("/v1/jobs").status_code == 200
    problem(acme.post("/v1/jobs", data=levels(65), content_type="application/json"), 422, "invalid_input")


def test_a_refusal_repeats_little_of_what_was_wrong(acme):
    """A megabyte of names gets a short answer."""
    body = {**PROMPT, **{f"{n}-{'x' * 40_000}": 1 for n in range(25)}}
    answer = acme.post("/v1/jobs", json=body)
    assert len(problem(answer, 422, "invalid_input")["errors"]) == 20 and len(answer.data) < 10_000
    assert len(acme.get("/v1/jobs", query_string={"y" * 50_000: "1"}).data) < 1000


def test_what_cannot_be_shown_is_not_recorded(acme, ledger, monkeypatch):
    """The view is made first: were there a value that no bound catches, the answer would be a defect and no job."""
    monkeypatch.setattr(contract, "redacted", lambda value: {1: object()})
    assert acme.post("/v1/jobs", json=PROMPT).status_code == 500
    assert ledger.redis.zcard(keys.tenant_jobs("acme")) == 0 and not ledger.redis.keys("bl:job:*")


def test_a_record_with_a_time_that_is_none_is_shown(acme, ledger, fixed):
    """As one that a release before recorded: at the edge of what a time can be, and beside it the others."""
    odd = fixed(start_ms=-62_135_600_400_000)
    ledger.submit(odd)
    assert acme.get(f"/v1/jobs/{odd.id}").json["start_at"] == "0001-01-01T00:00:00Z"
    assert [job["id"] for job in acme.get("/v1/jobs").json["data"]] == [odd.id]


@pytest.mark.parametrize("ms", [0, -1e30, 1e30, float("inf"), float("-inf"), float("nan"), -62_135_596_800_001])
def test_any_number_of_milliseconds_is_some_moment(ms):
    assert 1 <= moment(ms).year <= 9999


@pytest.mark.parametrize("at_ms", ["9" * 30, "-1", "1e5", "1_0", "\u0661", "NaN", ""])
def test_a_cursor_of_odd_numbers_is_none(acme, at_ms):
    text = base64.urlsafe_b64encode(f"{at_ms} {unknown_job()}".encode()).decode()
    for path in ("/v1/jobs", "/v1/dead-letters"):
        assert (
            problem(acme.get(path, query_string={"cursor": text}), 422, "invalid_input")["errors"][0]["pointer"]
            == "/cursor"
        )
