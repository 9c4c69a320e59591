"""The current S3 keys: from the settings, or from a file that an operator rotates without a restart.

This file makes no S3 client.
"""

import configparser
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import StorageUnavailable
from tasks.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keys:
    """An S3 key pair. All None: boto3 finds and renews the machine's own credentials."""

    id: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def of(settings: Settings) -> Keys:
    """The keys that the settings name. Errors: StorageUnavailable where the file could never be read."""
    if settings.s3_credentials_file:
        return _file_of(settings.s3_credentials_file).keys()
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return Keys(key.get_secret_value() if key else None, secret.get_secret_value() if secret else None)


class _File:
    """One credentials file: a stat a request, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Keys | None = None

    def keys(self) -> Keys:
        with self._lock:
            try:
                stat = self._path.stat()
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if self._keys is None or seen != self._seen:
                    self._keys = _read(self._path)
                    self._seen = seen
            except (OSError, ValueError, KeyError, configparser.Error) as error:
                if self._keys is None:
                    raise StorageUnavailable(
                        "BACKLOT_S3_CREDENTIALS_FILE cannot be read: it has a part [default] with "
                        "aws_access_key_id and aws_secret_access_key"
                    ) from error
                log.warning(
                    "the S3 credentials file cannot be read (%s): the keys before are used on", type(error).__name__
                )
            return self._keys


_files: dict[Path, _File] = {}


def _file_of(path: Path) -> _File:
    return _files.setdefault(path, _File(path))


def _read(path: Path) -> Keys:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text())
    part = parser["default"]
    return Keys(part["aws_access_key_id"], part["aws_secret_access_key"], part.get("aws_session_token"))
