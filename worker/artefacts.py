"""Artefacts: results that jobs make once and use again, such as a model fitted to a tenant's data, kept in the bucket.

An artefact is a folder in one tar object, so that it is there whole or not at all. A lock in Redis lets others wait
while one makes it; where the lock fails, two make the same, which costs time and nothing else. The keeper deletes old
ones.
"""

import logging
import re
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from redis.exceptions import LockError, RedisError

from tasks.apart import BUCKETS
from tasks.bucket.layout import artefact_key
from tasks.bucket.storage import Storage
from tasks.errors import Canceled, NotFound, StorageUnavailable
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.client import Client, Lock
from tasks.tarball import unpack

log = logging.getLogger(__name__)
NAME = re.compile(r"^[a-z0-9-]{1,100}$")
MAX_BYTES = 8 * 2**30
"""Bytes of a packed artefact."""
LOCK_S = 15.0
"""Seconds until another job may make the artefact of one that died."""
LOOK_AGAIN_S = 0.2
"""Seconds between two looks while another job makes the artefact."""
Make = Callable[[Path], None]


class Artefacts:
    """Hands out artefacts to the jobs of one process."""

    def __init__(self, storage: Storage, client: Client) -> None:
        self.storage, self.redis = storage, client

    def of(self, fixed: Fixed, scratch: Path, canceled: Callable[[], bool]) -> Callable[[str, Make], Path]:
        """The `artefact` of a Call (tasks/algorithm.py). `scratch` is emptied when the job ends.

        It raises ValueError for a name that is none, Canceled, StorageUnavailable, and whatever `make` raises.
        """

        def check() -> None:
            if canceled():
                raise Canceled("the job was canceled")

        def artefact(name: str, make: Make) -> Path:
            if not NAME.match(name):
                raise ValueError(f"{name!r} is no name of an artefact: {NAME.pattern}")
            key, lock_key = artefact_key(fixed.tenant, fixed.kind, name), keys.making(fixed.tenant, fixed.kind, name)
            while True:
                kept = self._kept(key, scratch, check)
                if kept:
                    return kept
                with self._alone(lock_key) as mine:
                    if mine:
                        # somebody may have put it there between the look and the lock
                        return self._kept(key, scratch, check) or self._made(key, make, scratch, check)
                check()
                threading.Event().wait(LOOK_AGAIN_S)

        return artefact

    def _kept(self, key: str, scratch: Path, check: Callable[[], None]) -> Path | None:
        """The artefact in the bucket, unpacked; None where there is none that can be read."""
        folder = Path(tempfile.mkdtemp(prefix="artefact-", dir=scratch))
        packed = folder.with_suffix(".tar")
        try:
            BUCKETS.call(partial(self.storage.get_file, key, packed, MAX_BYTES), check)
            unpack(packed, folder)
        except NotFound:
            return None
        except (tarfile.TarError, OSError) as error:
            log.warning("%s cannot be read and is made anew: %s", key, error)
            return None
        finally:
            packed.unlink(missing_ok=True)
        return folder

    def _made(self, key: str, make: Make, scratch: Path, check: Callable[[], None]) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="artefact-", dir=scratch))
        make(folder)
        packed = folder.with_suffix(".tar")
        with tarfile.open(packed, "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, arcname=path.name)
        try:
            BUCKETS.call(partial(self.storage.put_file, key, packed, "application/x-tar"), check)
        except StorageUnavailable as error:  # this job has what it needs; the next makes it again
            log.warning("%s could not be kept: %s", key, error.detail)
        finally:
            packed.unlink(missing_ok=True)
        return folder

    @contextmanager
    def _alone(self, lock_key: str) -> Iterator[bool]:
        """Take the lock; yields True where this process may make the artefact. It is prolonged while the block runs."""
        lock, done = self.redis.lock(lock_key, timeout=LOCK_S, thread_local=False), threading.Event()
        try:
            mine = lock.acquire(blocking=False)
        except RedisError as error:
            log.warning("no lock for %s, so it may be made twice: %s", lock_key, error)
            yield True
            return
        if mine:
            threading.Thread(target=_prolong, args=(lock, done), name="artefact", daemon=True).start()
        try:
            yield mine
        finally:
            done.set()
            with suppress(LockError, RedisError):
                if mine:
                    lock.release()


def _prolong(lock: Lock, done: threading.Event) -> None:
    while not done.wait(LOCK_S / 3):
        try:
            lock.extend(LOCK_S, replace_ttl=True)
        except LockError:
            return  # another has it: both make the same
        except Exception as error:  # Redis is away, or broken
            log.warning("the lock of an artefact was not prolonged: %s", error)
