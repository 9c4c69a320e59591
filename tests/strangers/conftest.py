"""A stack that strangers and an honest tenant share, kept up for a file of tests; and the table of what was seen.

`pytest tests/strangers --table FILE` writes the table (make strangers).
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import keyfile
from tests.stack import Process, RedisServer, S3Server, Stack, make_settings, make_storage
from tests.strangers import honest

MODELS = Path(__file__).parent.parent / "models" / "models.toml"


@dataclass
class Town:
    """API, keeper and a cpu worker of two processes with the models of tests/models. `key` is a tenant's; `honest`
    another's, which works beside it."""

    stack: Stack
    api: Process
    key: str
    operator_key: str
    honest: honest.Honest

    @property
    def client(self) -> httpx.Client:
        """The stranger's."""
        return self.client_of(self.key)

    def client_of(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.api.url, headers=headers, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def make_town(
    redis_server: RedisServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """make_town(gpu_slots=4) as a context manager's body needs it: a generator of one Town with these settings."""

    def build(pools: tuple[str, ...] = ("cpu",), **changes: Any) -> Iterator[Town]:
        folder = tmp_path_factory.mktemp("town")
        usual = {"models": MODELS, "cpu_slots": 2, "gpu_slots": 4, "grace_s": 2, "retry_s": 0.2}
        settings = make_settings(
            redis_server.for_a_stack(), s3_server, f"town-{uuid.uuid4().hex[:12]}", folder, **{**usual, **changes}
        )
        make_storage(settings)
        stranger, tenant = (keyfile.add(settings.keys_file, name) for name in ("stranger", "honest"))
        operator = keyfile.add(settings.keys_file, "operator", "operator")
        stack = Stack(settings, folder)
        with contextlib.ExitStack() as running:
            running.enter_context(stack.keeper())
            for pool in pools:
                running.enter_context(stack.worker(pool))
            api = running.enter_context(stack.api())
            yield Town(stack, api, stranger, operator, honest.Honest(api.url, tenant, f"{pools[0]}-noop"))

    return build


@pytest.fixture(scope="module")
def town(make_town: Callable[..., Any]) -> Iterator[Town]:
    """The usual one."""
    yield from make_town()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", help="write what the honest tenant saw to this file")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are the suite `strangers`."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("strangers")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--table", None)
    if path and honest.ROWS:
        Path(path).write_text(honest.table())
