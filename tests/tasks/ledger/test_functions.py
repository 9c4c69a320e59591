"""Verbs run by one Redis Function, loaded where it is missing; by scripts where the server has no Functions."""

import contextlib
import logging
import threading
from functools import partial

import pytest
from pydantic import SecretStr
from redis.exceptions import ResponseError

from tasks.errors import LedgerFault, NotReady
from tasks.ledger import Ledger, connect, connection, keys, lua
from tasks.ledger.faults import ours
from tests.conftest import PATIENT_S, make_fixed
from tests.stack import RedisServer, until
from tests.tasks.ledger.conftest import Desk, with_lines
from worker.keeper import libraries

NAME = lua.library().run[1]


def loaded(client) -> set[str]:
    return {one["library_name"] for one in client.execute_command("FUNCTION", "LIST")}


def runs(client) -> dict[str, int]:
    """Calls of FCALL and EVALSHA that succeeded, since the server started."""
    stats = client.info("commandstats")
    seen = {name: stats.get(f"cmdstat_{name}", {"calls": 0, "failed_calls": 0}) for name in ("fcall", "evalsha")}
    return {name: one["calls"] - one["failed_calls"] for name, one in seen.items()}


def test_a_call_runs_by_the_function_and_loads_no_script(desk, ledger):
    before = runs(ledger.redis)
    desk.commit(desk.running())
    after = runs(ledger.redis)
    assert after["fcall"] - before["fcall"] == 3 and after["evalsha"] == before["evalsha"]


def test_no_call_sees_what_one_before_it_found(desk, ledger):
    """A Function's locals outlive the call: time, epoch, pauses and parked jobs are asked for in each."""
    ledger.clock = lambda: 0  # Redis' own
    earlier, first = desk.submit(), int(ledger.redis.time()[0])
    until(lambda: ledger.redis.time()[0] > first)
    later = desk.submit(tenant="other")
    assert int(desk.record(later)["created_ms"]) > int(desk.record(earlier)["created_ms"])
    ledger.pause("tenant/acme", "")
    assert desk.claim().fixed.id == later.id and desk.claim(slot="1") is None
    ledger.resume("tenant/acme")
    ledger.unpark("acme")
    assert desk.claim(slot="1").fixed.id == earlier.id
    epoch = ledger.redis.getdel(keys.EPOCH)
    with pytest.raises(NotReady):
        desk.submit()
    ledger.redis.set(keys.EPOCH, epoch)
    desk.submit()


def test_a_library_that_vanishes_in_mid_flight_is_loaded_again(settings, ledger, desk):
    """Deleted again and again under threads that submit: each job is recorded once, and none is refused."""
    jobs, failed, done = [make_fixed() for _ in range(300)], [], threading.Event()

    def submit(own: Ledger, some) -> None:
        try:
            for job in some:
                assert own.submit(job).job_id == job.id
        except Exception as error:
            failed.append(error)

    def flush() -> None:
        while not done.is_set():
            ledger.redis.function_flush()
            done.wait(0.005)

    threads = [threading.Thread(target=submit, args=(Ledger(settings), jobs[n::3])) for n in range(3)]
    flushing = threading.Thread(target=flush)
    for thread in (*threads, flushing):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    flushing.join(60)
    assert failed == []
    recorded = sorted(entry["id"] for _, entry in ledger.redis.xrange(keys.JOURNAL))
    assert recorded == sorted(desk.line()) == sorted(job.id for job in jobs)


def test_libraries_of_two_releases_live_together_until_the_keeper_deletes_the_other(desk, ledger, monkeypatch):
    """A process of the other release loads its own again."""
    other = partial(lua.Text, *_of_another_release())
    with monkeypatch.context() as patch:
        patch.setattr(lua, "library", other)
        desk.submit()
        assert loaded(ledger.redis) >= {NAME, "backlot_0000000000000000"}
    libraries.delete_others(ledger.redis)
    assert NAME in loaded(ledger.redis) and "backlot_0000000000000000" not in loaded(ledger.redis)
    monkeypatch.setattr(lua, "library", other)
    assert desk.claim()
    assert "backlot_0000000000000000" in loaded(ledger.redis)
    monkeypatch.undo()
    libraries.delete_others(ledger.redis)


def test_the_keeper_deletes_what_the_release_before_wrote_alone(desk, ledger):
    job = desk.submit()
    ledger.redis.zadd(keys.waiting("cpu"), {job.id: 1})
    libraries.delete_old(ledger, ["cpu", "gpu"])
    assert not ledger.redis.exists(keys.waiting("cpu")) and desk.claim().fixed == job


def _of_another_release() -> tuple[tuple[str, str, int], tuple[str, str, str]]:
    name = "backlot_0000000000000000"
    return ("FCALL", name, 0), ("FUNCTION", "LOAD", lua.library().load[2].replace(NAME, name))


def test_two_processes_that_load_the_library_at_once_do_not_fail(ledger, desk, monkeypatch):
    """The second is told that it exists."""
    ledger.redis.function_flush()
    ask = ledger.redis.execute_command

    def raced(*words, **options):
        if words[:2] == ("FUNCTION", "LOAD"):
            ask(*words)
        return ask(*words, **options)

    monkeypatch.setattr(ledger.redis, "execute_command", raced)
    job = desk.submit()
    assert desk.line() == [job.id]


@pytest.mark.parametrize("rights", [("-fcall", "-function"), ("-function|load",)])
def test_without_the_rights_for_functions_scripts_run(settings_as_user, ledger, worker, clock, caplog, rights):
    """Said once; the Function is tried again a minute later."""
    limited, before = settings_as_user(*rights), runs(ledger.redis)
    desk = Desk(Ledger(limited, connect(limited, read_timeout_s=PATIENT_S), clock), worker)
    if "-fcall" not in rights:
        ledger.redis.function_flush()
    with caplog.at_level(logging.INFO):
        assert desk.commit(desk.running()) == "succeeded"
        libraries.delete_others(desk.ledger.redis)
    assert runs(ledger.redis)["evalsha"] - before["evalsha"] == 3
    assert [record.message for record in caplog.records if "Functions" in record.message] == [caplog.records[0].message]
    desk.ledger._functions_at_s -= connection.FUNCTIONS_AGAIN_S
    ledger.redis.execute_command("ACL", "SETUSER", "limited", "+@all")
    before = runs(ledger.redis)
    desk.submit()
    assert runs(ledger.redis)["fcall"] > before["fcall"]


@pytest.fixture(scope="module", params=[True, False], ids=["functions", "scripts"])
def own_server(request, tmp_path_factory):
    """A server that these tests may fill and turn into a replica, with Functions or, as before 7.0, without."""
    without = 'rename-command FCALL ""\nrename-command FUNCTION ""\n'
    server = RedisServer(tmp_path_factory.mktemp("functions"), "own", "" if request.param else without)
    server.has_functions = request.param
    yield server
    server.stop()


@pytest.fixture
def own(own_server, settings, clock, worker):
    """A desk on that server."""
    own_server.client().flushall()
    at = settings.model_copy(update={"redis_url": SecretStr(own_server.url())})
    ledger = Ledger(at, connect(at, read_timeout_s=PATIENT_S), clock)
    ledger.set_epoch()
    return Desk(ledger, worker)


def test_at_maxmemory_a_job_still_ends(own, own_server):
    """Both ways: whatever runs must be able to end where Redis is full."""
    claimed, client = own.running(), own_server.client()
    client.config_set("maxmemory", "1mb")
    try:
        assert own.commit(claimed) == "succeeded"
    finally:
        client.config_set("maxmemory", "0")
    assert (runs(client)["fcall"] > 0) == own_server.has_functions


@pytest.mark.parametrize(
    ("code", "on", "off"),
    [
        ("READONLY", ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (
            "NOREPLICAS",
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
    ],
)
def test_a_server_that_takes_no_writes_is_away_both_ways(own, own_server, code, on, off):
    claimed, client = own.running(), own_server.client()
    client.execute_command(*on)
    try:
        with pytest.raises(NotReady, match=code):
            own.commit(claimed)
    finally:
        client.execute_command(*off)
    with pytest.raises(NotReady) if code == "READONLY" else contextlib.nullcontext():  # the replid is another
        assert own.commit(claimed) == "succeeded"


def test_an_error_inside_a_verb_has_the_same_words_both_ways(own):
    own.ledger.redis.set(keys.job("job_x"), "not a hash")
    with pytest.raises(LedgerFault) as caught:
        own.ledger.cancel("acme", "job_x")
    assert caught.value.detail == (
        "the ledger failed at cancel: the record of job_x cannot be read: its key is of another type"
    )
    own.ledger.redis.set(keys.line("cpu.generate:lstm"), "no zset")
    with pytest.raises(LedgerFault) as caught:
        own.ledger.claim(with_lines(own.worker, "cpu.generate:lstm"), "w1:0", own.token())
    assert caught.value.detail == (
        "the ledger failed at claim: WRONGTYPE Operation against a key holding the wrong kind of value"
    )


def test_an_error_outside_of_a_verb_has_neither_the_functions_name_nor_a_line(ledger):
    with pytest.raises(ResponseError) as caught:
        ledger.redis.execute_command(*lua.library().run, "", 0, "{")
    assert ours(caught.value).detail == ("the ledger failed: Expected object key string but found T_END at character 2")
