"""Whatever is sent to whichever route, the answer is one of the document's or a 4xx as problem+json: never a 5xx, never
HTML, never a traceback."""

import io
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.operations import OPERATIONS
from tests.api.conftest import PROMPT, unknown_job

EXAMPLES = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
KNOWN = {"{job_id}": unknown_job(), "{name}": "text.txt", "{kind}": "generate", "{tenant}": "rival"}


def named(operation) -> str:
    return f"{operation.method} {operation.path}"


def judged(answer) -> int:
    """The status, once the answer is found to be in form."""
    text = answer.get_data(as_text=True)
    assert answer.status_code < 500, text
    assert "Traceback" not in text and "<html" not in text.lower()
    if answer.status_code >= 400:
        assert answer.content_type == "application/problem+json", text
        problem = json.loads(text)
        assert problem["status"] == answer.status_code and problem["code"] and problem["detail"]
    return answer.status_code


def path_of(operation, **values: str) -> str:
    path = operation.path
    for name, value in {**KNOWN, **values}.items():
        path = path.replace(name, value)
    return path


ODD_TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "\0",
            "..",
            "%",
            "%2e%2e%2f",
            "\u202e",
            "'; DROP TABLE jobs",
            "{{7*7}}",
            "1e999",
            "\N{PILE OF POO}" * 50,
            "x" * 3000,
            "-1",
            "null",
            "*",
            "bl:job:*",
        ]
    ),
)
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT | st.just(10**400),
    lambda more: st.lists(more, max_size=4) | st.dictionaries(ODD_TEXT, more, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_odd_paths_queries_and_headers_are_answered_in_form(operator, operation):
    """Of every route: names, cursors, preferences and keys that nobody would send in earnest."""

    @EXAMPLES
    @given(
        name=ODD_TEXT,
        query=st.dictionaries(
            st.sampled_from(["status", "kind", "model", "limit", "cursor", "x"]), ODD_TEXT, max_size=3
        ),
        header=ODD_TEXT,
    )
    def hold(name, query, header):
        value = "".join(c for c in header if c not in "\r\n\0").encode().decode("latin1")
        headers = {"Prefer": f"wait={value}", "Idempotency-Key": value, "Accept": value, "Content-Type": value}
        segment = quote((name.replace("/", "") or "x").encode("utf-8", "surrogatepass"), safe="")
        values = dict.fromkeys(("{job_id}", "{name}", "{kind}"), segment)
        judged(
            operator.open(
                path_of(operation, **values),
                method=operation.method.upper(),
                query_string=query,
                headers=headers,
                data=value.encode(),
            )
        )
        judged(
            operator.open(
                path_of(operation), method=operation.method.upper(), query_string=query, headers={"Prefer": value[:40]}
            )
        )

    hold()


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body], ids=named)
def test_any_json_is_answered_in_form(operator, operation):
    """A value alone, and in the place of each field of a request that is good."""
    good = next(iter(operation.examples.values()), {"value": {"reason": "a trial"}})["value"]
    lines = isinstance(good, str)  # a batch: the JSON of each body is a line
    good = json.loads(good.splitlines()[0]) if lines else good

    @EXAMPLES
    @given(value=ODD_JSON, field=st.sampled_from([*good, "params", "metadata", "start_at", "deadline_s", "priority"]))
    def hold(value, field):
        for body in (
            value,
            {**good, field: value},
            {**good, "input": {"prompt": value}},
            {**good, "params": {"seed": value, "stop": value}},
        ):
            judged(
                operator.open(
                    path_of(operation),
                    method=operation.method.upper(),
                    data=json.dumps(body),
                    content_type="application/jsonl" if lines else "application/json",
                )
            )

    hold()


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.method != "get"], ids=named)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\xff\xfe{}",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"kind":' + b"9" * 100_000 + b"}",
        b'{"name":' + b"1" * 5000 + b"}",
        b'"\\ud800"',
        b'{"\\ud800": "\\udfff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "\\u0000"}',
        b'{"name": "a", "name": "b"}',
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"-",
        json.dumps(PROMPT).encode("utf-16"),
        json.dumps({**PROMPT, "metadata": {"\ud800": "\udfff"}}).encode(),
        json.dumps({**PROMPT, "model": "\ud800"}).encode(),
        b'{"kind":"generate","input":{"prompt":{"url":"https://a\\u0000b/"}}}',
        b'{"kind":"generate","input":{"prompt":{"url":"https://[::1%25\\u0000]/"}}}',
        b'{"kind":"generate","input":{"prompt":"x"},"metadata":' + b'{"a":' * 120 + b"1" + b"}" * 121,
        b'{"kind":"generate","input":{"prompt":"x"},"params":{"seed":' + b"1" * 4000 + b"}}",
        b'{"kind":"generate","input":{"prompt":"x"},"priority":1e400}',
    ],
    ids=lambda body: ascii(body[:50]),
)
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-7"])
def test_broken_deep_and_huge_json_is_refused(operator, operation, body, content_type):
    """Broken encodings, a hundred thousand levels, numbers of thousands of digits, half characters, NUL."""
    judged(operator.open(path_of(operation), method=operation.method.upper(), data=body, content_type=content_type))


def part(head: str, body: bytes = b"x") -> bytes:
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n"


KIND = part('Content-Disposition: form-data; name="kind"', b"generate")
END = b"--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        END,
        b"--b",
        b"--b\r\n",
        KIND,
        KIND + part("") + END,
        KIND + part("Content-Disposition: form-data") + END,
        KIND + part('Content-Disposition: form-data; name="prompt"; filename="\0"') + END,
        KIND + part('Content-Disposition: form-data; name="\0"') + END,
        KIND + part('Content-Disposition: form-data; name="prompt"', b"\xff\xfe") + END,
        KIND + part('Content-Disposition: form-data; name="params"', b"[" * 100_000) + END,
        *(
            KIND + part('Content-Disposition: form-data; name="metadata"', b'{"a":' * n + b"1" + b"}" * n) + END
            for n in (150, 300, *range(900, 1000, 7))
        ),
        KIND + part('Content-Disposition: form-data; name="params"', b"9" * 100_000) + END,
        KIND + part('Content-Disposition: form-data; name="params"', b'{"\\ud800": 1}') + END,
        KIND + part('Content-Disposition: form-data; name="messages"; filename="m"', b"[" * 100_000) + END,
        KIND + part('Content-Disposition: form-data; name="messages"; filename="m"', b"\xff\xfe") + END,
        KIND + part('Content-Disposition: form-data; name="messages"', b"[" * 100_000) + END,
        KIND + part("Content-Disposition: form-data; name*=utf-8''%FF%ED%A0%80; filename*=utf-16''%D8%00") + END,
        KIND + part('Content-Disposition: form-data; name="prompt"; filename="a"\r\nContent-Type: \0') + END,
        KIND + part('Content-Disposition: form-data; name="prompt"\r\nContent-Transfer-Encoding: base64', b"!") + END,
        part('Content-Disposition: form-data; name="a"') * 2000 + END,
        part("X: " + "y" * 100_000) + END,
        part('Content-Disposition: form-data; name="kind"', b"recommend")
        + part('Content-Disposition: form-data; name="history"; filename="h"', b"[" * 100_000)
        + END,
    ],
    ids=lambda body: ascii(body[-90:-10]),
)
def test_a_broken_form_is_answered_in_form(operator, body):
    """Refused, or read as what it can be read as."""
    assert judged(operator.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=b")) >= 202


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 5000,
        "multipart/form-data; boundary=\x80",
        "application/json/json",
        ";",
        "application/jsonx",
        "text/html",
        "multipart/mixed",
    ],
)
def test_a_wrong_content_type_is_refused(operator, content_type):
    body = io.BytesIO(KIND + END)
    assert 400 <= judged(operator.post("/v1/jobs", input_stream=body, content_type=content_type)) < 500


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_a_header_that_is_no_header_is_no_defect(app, operator, operation):
    """Keys and lengths that are none."""
    anybody = app.test_client()
    for value in ("Bearer " + "x" * 100_000, "Bearer \x80\xff", "Bearer \0", "Basic " + "A" * 5000, "Bearer bk_" * 100):
        judged(
            app.test_client().open(
                path_of(operation),
                method=operation.method.upper(),
                headers={"Authorization": value.encode("latin1").decode("latin1")},
            )
        )
    for length in ("-1", "x", "9" * 30, "1e3"):
        judged(
            operator.open(
                path_of(operation),
                method=operation.method.upper(),
                content_type="application/json",
                environ_overrides={"CONTENT_LENGTH": length},
            )
        )
    assert anybody is not operator
