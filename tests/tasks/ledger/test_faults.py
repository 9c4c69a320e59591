"""'Away' and 'broken' are two errors: who asks goes on asking the one, and gives up on the other with its cause."""

import logging
import signal

import pytest
import redis

from tasks.errors import LedgerFault, NotReady
from tasks.ledger import connect, keys
from tasks.ledger.faults import AWAY, away, ours
from tests.conftest import make_fixed
from tests.stack import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis whose settings these tests change."""
    own = RedisServer(tmp_path_factory.mktemp("faults"), "moody")
    yield own
    own.signal(signal.SIGCONT)
    own.stop()


def answer_to(client, ask):
    with pytest.raises((NotReady, LedgerFault)) as caught, away("probe"):
        ask(client)
    return caught.value


SET = "return redis.call('SET', 'str', 'x')"


@pytest.mark.parametrize(
    ("code", "setting", "values"),
    [("OOM", "maxmemory", ("1", "0")), ("NOREPLICAS", "min-replicas-to-write", ("1", "0"))],
)
def test_a_server_that_cannot_take_writes_is_away_and_named(server, code, setting, values):
    """By a script, by a command and in a pipeline."""
    client = server.client()
    client.config_set(setting, values[0])
    try:
        for ask in (
            lambda c: c.eval(SET, 0),
            lambda c: c.set("str", "x"),
            lambda c: c.pipeline(transaction=False).set("str", "a secret").execute(),
        ):
            error = answer_to(client, ask)
            assert isinstance(error, NotReady) and error.retryable
            assert error.detail == f"Redis cannot be used now ({code}: {AWAY[code]})"
    finally:
        client.config_set(setting, values[1])


def test_a_replica_is_away(server):
    client = server.client()
    client.replicaof("127.0.0.1", "1")
    try:
        assert "READONLY" in answer_to(client, lambda c: c.eval(SET, 0)).detail
        client.config_set("replica-serve-stale-data", "no")
        assert "MASTERDOWN" in answer_to(client, lambda c: c.get("str")).detail
    finally:
        client.config_set("replica-serve-stale-data", "yes")
        client.replicaof("NO", "ONE")


def test_a_missing_right_is_named_and_the_user_is_not(server):
    server.client().acl_setuser(
        "stagehand", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-info"], reset=True
    )
    user = connect_as(server, "stagehand", "pass")
    for ask in (lambda c: c.info(), lambda c: c.eval("return redis.call('INFO', 'server')", 0)):
        error = answer_to(user, ask)
        assert isinstance(error, NotReady)
        assert "NOPERM: its user lacks a right that Backlot needs, 'info' command" in error.detail
        assert "stagehand" not in error.detail
    error = answer_to(connect_as(server, "stagehand", "wrong"), lambda c: c.ping())
    assert "WRONGPASS" in error.detail and isinstance(error, NotReady)


def test_a_missing_right_inside_a_script_is_away_in_the_words_of_redis_7_0_too():
    said = "The user executing the script can't run this command or subcommand script: f, on @user_function:3."
    error = ours(redis.ResponseError(said))
    assert isinstance(error, NotReady) and "NOPERM" in error.detail


def connect_as(server, user, password):
    return redis.Redis(port=server.port, username=user, password=password, decode_responses=True)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("return redis.call('HGET', 'str', 'x')", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("return cjson.decode('\"\\\\ud800\"')", "Expected value but found invalid unicode escape code at character 2"),
        ("return 1 < nil", "attempt to compare number with nil"),
        ("return redis.call('INCRBY', 'str', 1)", "value is not an integer or out of range"),
    ],
)
def test_an_error_inside_a_script_is_broken_and_logged_with_its_words(server, caplog, script, words):
    client = server.client()
    client.set("str", "x")
    with caplog.at_level(logging.ERROR):
        error = answer_to(client, lambda c: c.eval(script, 0))
    assert isinstance(error, LedgerFault) and not error.retryable
    assert error.detail == f"the ledger failed at probe: {words}"
    assert error.detail in caplog.text


def test_words_are_bounded_and_what_a_pipeline_was_asked_is_not_among_them(server):
    client = server.client()
    client.set("str", "x")
    error = answer_to(client, lambda c: c.pipeline(transaction=False).hset("str", "a", "a secret").execute())
    assert isinstance(error, LedgerFault) and "WRONGTYPE" in error.detail and "secret" not in error.detail
    assert len(answer_to(client, lambda c: c.eval(f"error('{'x' * 5000}')", 0)).detail) < 400


def test_any_other_error_of_the_client_is_broken():
    with pytest.raises(LedgerFault), away():
        "\ud800".encode()  # an argument


def test_bytes_of_the_bucket_that_are_no_text_are_no_fault_of_the_ledgers():
    with pytest.raises(UnicodeDecodeError), away():
        b"\xff".decode()


def test_bytes_that_are_no_text_are_read_as_a_mark(settings, desk):
    """A reader that fails of them would fail for ever."""
    job = desk.submit()
    desk.ledger.redis.eval("redis.call('HSET', KEYS[1], 'message', '\\255x')", 1, keys.job(job.id))
    assert connect(settings).hget(keys.job(job.id), "message") == "�x"


def test_a_verb_whose_record_is_of_another_type_says_which_verb(desk, ledger):
    job = make_fixed()
    ledger.redis.set(keys.job(job.id), "not a hash")
    with pytest.raises(LedgerFault, match="the ledger failed at cancel: the record of .* its key is of another type"):
        ledger.cancel("acme", job.id)
