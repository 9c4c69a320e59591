"""The fixtures that all tests share: real servers once a run, a database and a bucket of its own for each test."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tasks.bucket.storage import Storage
from tasks.ids import new_id
from tasks.job import Fixed
from tasks.ledger import Ledger, Worker, connect, keys
from tasks.settings import Settings
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage
from tests.web import Web, serve

pytest_plugins = ["tests.traces"]

hypothesis.settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("untimed")  # in CI the same examples each time: a failure is the change's

OURS_TO_SET = ("BACKLOT_", "AWS_", "RCLONE_", "CELERY_", "FLASK_", "GUNICORN_", "GRANIAN_")
"""Variables that steer the service and its servers: a person's own are not the tests'."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
DATA = os.environ.get("BACKLOT_DATA")
PATIENT_S = 20  # how long a test waits for Redis, which a busy machine may hold up


def pytest_configure(config: pytest.Config) -> None:
    """The suite is the same on every machine: what a person has exported for work by hand is not seen.

    Its processes share the cores, as a worker's slots do: torch's threads of one would spin while another's compute.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    runs_no_test = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    kept = {"BACKLOT_DATA"} if runs_no_test else set()  # the processes that do inherit it, and read it as DATA
    for name in {*os.environ} - kept:
        if name.startswith(OURS_TO_SET) or name.lower() in PROXIES:
            del os.environ[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `data("folder", ...)` where BACKLOT_DATA has no such folder."""
    for mark in item.iter_markers("data"):
        if DATA is None:
            pytest.skip("BACKLOT_DATA is unset: real data is NOT tested")
        for folder in mark.args:
            if not Path(DATA, folder).is_dir():
                pytest.skip(f"BACKLOT_DATA HAS NO {folder}: it is NOT tested")


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder BACKLOT_DATA, for tests that are marked `data`; others run without one, wherever they run."""
    assert request.node.get_closest_marker("data"), "a test that needs BACKLOT_DATA is marked `data`"
    return Path(DATA).resolve()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def settings(redis_server: RedisServer, s3_server: S3Server, tmp_path: Path) -> Settings:
    """Settings of this test alone: an empty database and the name of a new bucket."""
    return make_settings(redis_server.for_a_test(), s3_server, f"test-{uuid.uuid4().hex[:16]}", tmp_path)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    """The test's bucket, made."""
    return make_storage(settings)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    """A ledger whose epoch is set, on Redis' own clock."""
    made = Ledger(settings, connect(settings, read_timeout_s=PATIENT_S))
    made.set_epoch()
    return made


@pytest.fixture
def stack(settings: Settings, storage: Storage, tmp_path: Path) -> Stack:
    """Starts keeper, workers and API with this test's settings."""
    return Stack(settings, tmp_path)


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on the loopback that answers as a test says."""
    with serve() as server:
        yield server


@pytest.fixture
def fixed() -> Callable[..., Fixed]:
    """Makes a job as `submit` takes it: fixed(tenant="a", priority=3)."""
    return make_fixed


def make_fixed(**changes) -> Fixed:
    usual = {
        "id": new_id("job"),
        "tenant": "acme",
        "kind": "generate",
        "model": "lstm",
        "pool": "cpu",
        "input": {"prompt": "Once"},
        "params": {},
        "queue_ttl_s": 3600,
        "run_timeout_s": 60,
        "retention_s": 86400,
        "max_attempts": 3,
    }
    return Fixed(**{**usual, **changes})


@pytest.fixture
def worker() -> Worker:
    """A worker of the pool cpu that serves the line of `fixed`'s jobs and one more."""
    return make_worker()


def make_worker(name: str = "w1", pool: str = "cpu") -> Worker:
    return Worker(
        name, pool, [f"{pool}.generate", f"{pool}.caption"], [f"{pool}.generate:lstm", f"{pool}.caption:cnn-lstm"]
    )


@pytest.fixture
def waiting(ledger: Ledger) -> Callable[..., list[str]]:
    """The ids in a line, next first."""
    return lambda line="cpu.generate:lstm": ledger.redis.zrange(keys.line(line), 0, -1)


def fenced(ledger: Ledger) -> str:
    """The token of a keeper that restores, for verbs that carry it."""
    ledger.redis.set(keys.RESTORING, "a keeper")
    return "a keeper"
