"""The types of Redis' commands agree with redis-py and with a real Redis' answers."""

import inspect
from types import SimpleNamespace
from typing import get_overloads

import pytest
import redis

from tasks.errors import LedgerFault
from tasks.ledger import keys, lua
from tasks.ledger.client import Client, Pipeline
from tests.conftest import make_fixed

COMMANDS = [
    (protocol, library, name)
    for protocol, library in ((Client, redis.Redis), (Pipeline, redis.client.Pipeline))
    for name, member in vars(protocol).items()
    if inspect.isfunction(member) and name not in ("__init__", "__subclasshook__")
]


@pytest.mark.parametrize(("protocol", "library", "name"), COMMANDS, ids=lambda one: getattr(one, "__name__", one))
def test_redis_py_has_every_command_with_these_parameters(protocol, library, name):
    """`connect` casts, so mypy does not compare the two: this does."""
    theirs = inspect.signature(getattr(library, name)).parameters
    if name in ("__enter__", "__exit__") or any(one.kind is one.VAR_KEYWORD for one in theirs.values()):
        assert callable(getattr(library, name))
        return
    overloads = get_overloads(
        SimpleNamespace(__module__=protocol.__module__, __qualname__=f"{protocol.__name__}.{name}")
    )
    for form in overloads or [getattr(protocol, name)]:
        parameters = inspect.signature(form).parameters
        named = {one for one in parameters if parameters[one].kind is not inspect.Parameter.VAR_POSITIONAL}
        assert named - {"self"} <= set(theirs)


def test_answers_are_text_and_scores_are_numbers(ledger, desk):
    """The types of the answers that the ledger reads."""
    job = desk.submit()
    record, client = ledger.record(job.id), ledger.redis
    assert all(type(word) is str for pair in record.items() for word in pair)
    assert client.zrangebyscore(keys.tenant_jobs(job.tenant), "-inf", "+inf") == [job.id]
    ((found, score),) = client.zrevrangebyscore(keys.tenant_jobs(job.tenant), "+inf", "-inf", withscores=True)
    assert (found, type(score)) == (job.id, float)
    ((entry, fields),) = client.xrange(keys.EVENTS)
    assert type(entry) is str and fields["id"] == job.id
    ((stream, entries),) = client.xread({keys.EVENTS: "0-0"})
    assert stream == keys.EVENTS and entries[0] == (entry, fields)


@pytest.mark.parametrize("answer", ["{9, 'x'}", "'x'", "7"])
def test_an_answer_that_this_release_does_not_know_is_a_fault(ledger, answer, monkeypatch):
    """It was taken for 'Redis is x % full', or for a job that was recorded."""
    sha = ledger.redis.script_load(f"return {{{{0, {answer}}}}}")
    monkeypatch.setattr(lua, "library", lambda: lua.Text(("EVALSHA", sha, 0), ("SCRIPT", "LOAD", "")))
    with pytest.raises(LedgerFault, match="submit"):
        ledger.submit(make_fixed())
