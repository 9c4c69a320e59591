"""The app's own dispatch: nothing here needs what it leaves out of Flask's, and each sort of answer is whole."""

import inspect

from api.dispatch import Api
from api.headers import SAFE


def test_nothing_is_registered_that_the_dispatch_leaves_out(app: Api):
    """Functions of one blueprint, teardown functions and coroutines would never be called, without a word."""
    for functions in (app.before_request_funcs, app.after_request_funcs):
        assert {name for name, registered in functions.items() if registered} == {None}
    for left_out in (app.teardown_request_funcs, app.url_value_preprocessors):
        assert not any(left_out.values())
    assert not app.teardown_appcontext_funcs
    assert not any(map(inspect.iscoroutinefunction, app.view_functions.values()))


def test_head_is_get_without_a_body(app, acme):
    """The length is that of GET's body."""
    got, head = acme.get("/v1/models"), acme.head("/v1/models")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.data))


def test_an_answer_in_parts_has_the_headers_of_every_answer(acme):
    line = b'{"kind": "generate", "input": {"prompt": "x"}}\n'
    lines = {"Accept": "application/jsonl"}
    answer = acme.post("/v1/batches", data=line, content_type="application/jsonl", headers=lines)
    assert answer.status_code == 200 and answer.data.count(b"\n") == 1
    assert {name: answer.headers.get(name) for name in SAFE} == SAFE


def test_an_answer_without_a_body_has_no_length_and_no_type(acme):
    job = acme.submit()["id"]
    acme.post(f"/v1/jobs/{job}/cancel")
    answer = acme.delete(f"/v1/jobs/{job}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert not {"Content-Length", "Content-Type"} & set(answer.headers.keys())
