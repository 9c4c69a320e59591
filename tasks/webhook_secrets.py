"""The secrets that sign each tenant's webhooks, and its default webhook: a file beside the API keys, of mode 0600;
never in Redis or the bucket.

    {"tenants": {"acme": [{"secret": "whsec_...", "created_at": time, "expires_at": time, if any}]},
     "defaults": {"acme": {"url": "https://...", "events": ["completed"]}}}

The API changes it and the keeper reads it. A tenant has two secrets at most, the newest first; both sign while a
receiver moves from one to the other. Standard Webhooks 1.0, 'Signature scheme'.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks import secret_file
from tasks.webhook import WebhookRequest

log = logging.getLogger(__name__)
PREFIX = "whsec_"
SECRET_BYTES = 32
OVERLAP = timedelta(days=1)
"""Time for which the old secret signs beside a new one."""
LOOK_S = 1
"""Seconds for which a process takes a default webhook as it last read it: each submit without one asks for it."""


class Secret(BaseModel):
    """A signing secret: `whsec_` and 32 random bytes in base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    secret: str = Field(pattern=rf"^{PREFIX}[A-Za-z0-9+/]+=*$", description="the secret")
    created_at: AwareDatetime = Field(description="time of its making")
    expires_at: AwareDatetime | None = Field(None, description="time from which it signs no more; null: not set")

    def signature(self, message_id: str, timestamp: int, body: bytes) -> str:
        """The signature `v1` of a message."""
        key = base64.b64decode(self.secret.removeprefix(PREFIX))
        signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
        return f"v1,{base64.b64encode(signed).decode()}"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenants: dict[str, list[Secret]] = {}
    defaults: dict[str, WebhookRequest] = {}

    def written(self) -> str:
        """The content of the file; without `defaults` where there are none, which releases before do not know."""
        return self.model_dump_json(indent=2, exclude_defaults=True) + "\n"


class WebhookSecrets:
    """The file of one deployment. While it cannot be read, the secrets read last stay valid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known, self._version = _File(), (0, 0, 0)
        self._lock, self._looked_at = threading.Lock(), float("-inf")

    def of(self, tenant: str) -> list[Secret]:
        """The tenant's valid secrets, the newest first."""
        with self._lock:
            self._refresh()
        now = datetime.now(UTC)
        return [one for one in self._known.tenants.get(tenant, []) if one.expires_at is None or one.expires_at > now]

    def rotate(self, tenant: str) -> list[Secret]:
        """Makes a new secret; the newest of before is valid for OVERLAP, and no older one. Returns both.

        Errors: OSError, ValueError where the file cannot be changed.
        """
        now = datetime.now(UTC)
        made = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        with secret_file.locked(self.path):
            kept = self._read()
            before = [one.model_copy(update={"expires_at": now + OVERLAP}) for one in kept.tenants.get(tenant, [])[:1]]
            kept.tenants[tenant] = [Secret(secret=made, created_at=now), *before]
            secret_file.replace(self.path, kept.written())
        return kept.tenants[tenant]

    def default(self, tenant: str) -> WebhookRequest | None:
        """The webhook of the tenant's single jobs that name none, at most LOOK_S old."""
        with self._lock:
            if (now := time.monotonic()) - self._looked_at >= LOOK_S:
                self._looked_at = now
                self._refresh()
        return self._known.defaults.get(tenant)

    def set_default(self, tenant: str, wanted: WebhookRequest | None) -> None:
        """Sets or removes the tenant's default. Errors: OSError, ValueError where the file cannot be changed."""
        with secret_file.locked(self.path):
            kept = self._read()
            kept.defaults.pop(tenant, None)
            if wanted:
                kept.defaults[tenant] = wanted
            secret_file.replace(self.path, kept.written())
        self._looked_at = float("-inf")

    def remove(self, tenant: str) -> None:
        """Removes secrets and default of the tenant. Errors: OSError, ValueError where the file cannot be changed."""
        known = self._read()
        if tenant in known.tenants or tenant in known.defaults:
            with secret_file.locked(self.path):
                kept = self._read()
                kept.tenants.pop(tenant, None)
                kept.defaults.pop(tenant, None)
                secret_file.replace(self.path, kept.written())

    def _refresh(self) -> None:
        try:
            version = secret_file.version(self.path)
            if version != self._version:
                self._known, self._version = self._read(), version
        except FileNotFoundError:
            self._known, self._version = _File(), (0, 0, 0)
        except (OSError, ValueError) as error:
            log.error("the file of webhook secrets cannot be used (%s); the secrets known before stay", error)

    def _read(self) -> _File:
        """Errors: OSError; ValueError, which never shows a secret."""
        try:
            return _File.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return _File()
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise ValueError(f"{self.path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
