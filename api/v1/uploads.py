"""Uploads over HTTP: signs a URL for a file too large for a form. The bytes go to the bucket, not through this API."""

from datetime import datetime
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import answer, rate_limit, read_body, services
from api.auth import tenant
from tasks.bucket.layout import media_type_of
from tasks.errors import UploadsLimited
from tasks.service.uploads import create_upload

routes = Blueprint("uploads", __name__, url_prefix="/v1/uploads")
PUT_MAX_BYTES = 5 * 1024**3
"""S3's own limit of one PUT."""


class UploadRequest(BaseModel):
    """A file to be uploaded."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=255, description="file name; folders in it are dropped")
    media_type: str | None = Field(
        None, max_length=100, description="ignored: the extension of `name` decides the media type"
    )
    bytes: int | None = Field(
        None, ge=1, le=PUT_MAX_BYTES, description="size, at most 5 GiB; the bucket refuses a PUT of another size"
    )


class Upload(BaseModel):
    """An upload that awaits its bytes."""

    object: Literal["upload"] = "upload"
    id: str = Field(description="id of the upload")
    source: str = Field(description="value for an input of a job: `upload:<id>`")
    name: str = Field(description="file name")
    media_type: str = Field(description="media type by the extension")
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="signed URL for the PUT; anybody who has it can use it until `expires_at`")
    headers: dict[str, str] = Field({}, description="signed headers, which the PUT must carry")
    expires_at: datetime = Field(description="time from which the URL is refused")


@routes.post("")
def create() -> Response:
    asked = read_body(UploadRequest)
    made = create_upload(services().jobs, tenant(), asked.name, asked.bytes)
    most = services().settings.uploads_per_minute
    limited = rate_limit(made.left.left, made.left.reset_s, UploadsLimited.policy, most) if most else {}
    return answer(
        Upload(
            id=made.id,
            source=f"upload:{made.id}",
            name=made.name,
            url=made.url,
            headers=made.headers,
            media_type=media_type_of(made.name),
            expires_at=made.expires_at,
        ),
        201,
        limited,
    )
