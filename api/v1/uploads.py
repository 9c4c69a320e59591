"""Uploads over HTTP: a place for a file too large for a form. The bytes go to the bucket, not through here."""

from datetime import datetime
from typing import Literal

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import answer, read_body, services
from api.auth import tenant
from tasks.bucket.layout import media_type_of

routes = Blueprint("uploads", __name__, url_prefix="/v1/uploads")
LARGEST_PUT = 5 * 1024**3


class UploadRequest(BaseModel):
    """A file to be sent. Its extension says what it is."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=255, description="a file name; folders in it are left out")
    media_type: str | None = Field(None, max_length=100, description="as the caller knows it; the name decides")
    bytes: int | None = Field(None, ge=1, le=LARGEST_PUT, description="its size, at most 5 GiB; the PUT must have it")


class Upload(BaseModel):
    """Where to PUT the bytes. `source` is what a job's input names."""

    object: Literal["upload"] = "upload"
    id: str
    source: str
    name: str
    media_type: str
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="anybody who has it may PUT until `expires_at`")
    headers: dict[str, str] = Field({}, description="to be sent with the PUT, as they are signed")
    expires_at: datetime


@routes.post("")
def create() -> Response:
    asked = read_body(UploadRequest)
    made = services().jobs.create_upload(tenant(), asked.name, asked.bytes)
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
    )
