"""Opens uploads: a place in the bucket, and the URL to which a caller PUTs its bytes.

It puts nothing there itself and knows no job.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.bucket.layout import safe_name, upload_key
from tasks.errors import InvalidRequest
from tasks.ids import new_id
from tasks.ledger.shapes import Rate
from tasks.service.intake import UPLOAD_KEPT_S
from tasks.service.jobs import Jobs

UPLOAD_LINK_S = 3600
"""Seconds that an upload link is valid."""


@dataclass(frozen=True)
class UploadLink:
    """The URL to which the bytes of a new upload are PUT, its headers, and its expiry. `left`: of the tenant's uploads
    a minute."""

    id: str
    name: str
    url: str
    expires_at: datetime
    headers: dict[str, str]
    left: Rate


def create_upload(jobs: Jobs, tenant: str, name: str, size: int | None = None) -> UploadLink:
    """Opens an upload for a file of exactly `size` bytes. It is kept a day, then as long as a job names it.

    Errors: UploadsLimited; StoredTooMuch; InvalidRequest where the size must be known, as bytes are counted.
    """
    if size is None and jobs.settings.max_stored_bytes:
        raise InvalidRequest(
            [
                {
                    "pointer": "/bytes",
                    "detail": "the size must be declared here: the bytes that a tenant may have stored are limited",
                }
            ]
        )
    upload_id, name = new_id("upload"), safe_name(name)
    left = jobs.ledger.upload(tenant, upload_id, size or 0, UPLOAD_KEPT_S, jobs.settings.uploads_per_minute)
    link = jobs.storage.upload_link(upload_key(tenant, upload_id, name), size, expires_s=UPLOAD_LINK_S)
    expires_at = datetime.now(UTC) + timedelta(seconds=UPLOAD_LINK_S)
    return UploadLink(upload_id, name, link, expires_at, jobs.storage.upload_headers, left)
