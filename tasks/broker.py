"""Celery's queues: one a pool and kind, `<pool>.<kind>`. A message is a doorbell ('this queue has work'), not a job.

A doorbell that cannot be sent is only logged: the job is already recorded, and the keeper rings again. Celery is
imported when it is first needed: it is a sixth of all imports of an API process, which can answer before.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from tasks.errors import NotReady
from tasks.job import SCHEMA, line_of
from tasks.ledger.client import Client
from tasks.registry import Registry
from tasks.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

DOORBELL = "doorbell"
log = logging.getLogger(__name__)


def celery_app(settings: Settings, *, ringing: bool) -> Celery:
    """The Celery app; `ringing` sets the short timeouts of a process that only sends doorbells."""
    import kombu
    from celery import Celery

    at = settings.redis()
    url, options, tls = at.for_kombu()
    app = Celery("backlot", broker=url, set_as_current=False)
    timeouts = {"socket_connect_timeout": 0.5, "socket_timeout": 0.7} if ringing else {}
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # one list a queue: with kombu's four priority steps the ledger could not read its length with one LLEN
        broker_transport_options={"priority_steps": [0], **options, **timeouts},
        broker_use_ssl=tls or False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if at.credentials:  # Celery has no setting for a credential provider
        connection: Any = partial(kombu.Connection, credential_provider=at.credentials)
        app.amqp.Connection = connection
    return app


class Broker:
    """Rings doorbells."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._proven = False

    @cached_property
    def _app(self) -> Celery:
        return celery_app(self._settings, ringing=True)

    def prove(self, client: Client) -> None:
        """Checks once that Celery and the ledger use the same Redis database. Errors: NotReady."""
        if self._proven:
            return
        name = f"proof.{secrets.token_hex(8)}"
        try:
            with self._app.connection_for_write() as connection, connection.SimpleQueue(name) as queue:
                queue.put({})
                lies = client.llen(name)
                queue.get(timeout=1)
                queue.queue.delete()
        except Exception as error:  # kombu raises errors of many libraries
            raise NotReady(f"Celery cannot ring in Redis ({type(error).__name__})") from error
        if lies != 1:
            raise NotReady(
                "what Celery rings does not lie in the Redis of the ledger: they use different servers or databases"
            )
        self._proven = True

    def ring(self, queue: str, times: int = 1) -> None:
        """Wake the workers of a queue. Never raises."""
        try:
            for _ in range(times):
                self._app.send_task(DOORBELL, args=[queue], queue=queue, retry=False, ignore_result=True)
        except Exception as error:  # kombu raises errors of many libraries; none may turn a recorded submit into one
            log.warning("could not ring %s (%s); the keeper will", queue, type(error).__name__)

    def ring_all(self, queues: Iterable[str]) -> None:
        """Ring each queue as often as it is named."""
        for queue in queues:
            self.ring(queue)


def queues(registry: Registry, pool: str) -> list[str]:
    """The queues of a pool's models."""
    return sorted({f"{m.pool}.{m.kind}" for m in registry.models if m.pool == pool})


def lines(registry: Registry, pool: str) -> dict[str, int]:
    """The waiting lines of a pool's models, each with the number of jobs in two of its batches.

    Order: by record schema, oldest first, then by kind and model name.
    """
    return {
        line_of(f"{m.pool}.{m.kind}:{m.name}", v): 2 * m.batch
        for v in range(1, SCHEMA + 1)
        for m in sorted(registry.models, key=lambda m: (m.kind, m.name))
        if m.pool == pool
    }
