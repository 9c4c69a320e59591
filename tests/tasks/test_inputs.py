"""What can be judged of an input from its words alone."""

from typing import Annotated

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from tasks.inputs import MIB, FromSource, Limits, Source, Text, check_source, is_file, is_text, limits_of
from tasks.registry import KINDS, contract

UPLOAD = "upload:upload_" + "0123456789abcdefghjkmnpqrs"


@pytest.mark.parametrize(
    "source",
    [
        "https://example.com/a.wav",
        "https://example.com:8443/a?sig=x#t=1",
        "http://127.0.0.1:9000/a",
        "https://[::1]/a",
        "s3://films/inbox/night of.mkv",
        "s3://my.bucket/a",
        UPLOAD,
    ],
)
def test_a_source_is_https_s3_or_an_upload(source):
    assert check_source(source) == source
    assert TypeAdapter(Source).validate_python(source) == source


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "sources? is"),
        ("talk.mp3", "a source is https"),
        ("/etc/passwd", "a source is https"),
        ("ftp://example.com/a", "ftp: sources are not accepted"),
        ("file:///etc/passwd", "file: sources are not"),
        ("data:text/plain,x", "data: sources are not"),
        ("https://", "names no host"),
        ("https:///a", "names no host"),
        ("https://user@example.com/a", "user name or password"),
        ("https://u:p@example.com/a", "user name or password"),
        ("https://example.com:0/a", "names no host"),
        ("https://example.com:99999/a", "not a usable URL"),
        ("https://[::1/a", "not a usable URL"),
        ("s3://bucket", "s3://bucket/key"),
        ("s3://bucket/", "s3://bucket/key"),
        ("s3:///key", "s3://bucket/key"),
        ("s3://Bucket/key", "s3://bucket/key"),
        ("s3://a/key", "s3://bucket/key"),
        ("upload:7", "/v1/uploads"),
        (UPLOAD + "x", "/v1/uploads"),
        ("upload:../other", "/v1/uploads"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(source, why):
    with pytest.raises(ValueError, match=why):
        check_source(source)


def test_a_source_has_a_length_limit():
    with pytest.raises(ValidationError, match="2048"):
        TypeAdapter(Source).validate_python("https://example.com/" + "a" * 2048)


class Inputs(BaseModel):
    """A kind's inputs of every sort."""

    audio: Annotated[Source, Limits(max_bytes=5 * MIB)]
    extra: Annotated[list[Source] | None, Limits(max_bytes=7)] = None
    prompt: Annotated[Text, Limits(max_bytes=MIB)] = ""
    history: list[str] = []


def test_files_texts_and_json_are_told_apart():
    sorts = {name: (is_file(Inputs, name), is_text(Inputs, name)) for name in Inputs.model_fields}
    assert sorts == {"audio": (True, False), "extra": (True, False), "prompt": (False, True), "history": (False, False)}


def test_the_limit_of_a_field_is_found_and_json_has_none():
    assert limits_of(Inputs, "audio").max_bytes == 5 * MIB
    assert limits_of(Inputs, "extra").max_bytes == 7
    assert limits_of(Inputs, "history") is None


def test_a_text_is_the_text_or_a_source_of_one():
    assert Inputs(audio=UPLOAD, prompt="https://is just text here").prompt == "https://is just text here"
    assert Inputs(audio=UPLOAD, prompt={"url": UPLOAD}).prompt == FromSource(url=UPLOAD)
    with pytest.raises(ValidationError):
        Inputs(audio=UPLOAD, prompt={"url": "ftp://example.com/a"})


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_or_text_of_every_kind_has_a_limit_that_its_description_names(kind):
    """A limit that is not written down is met by surprise."""
    inputs = contract(kind).inputs
    for name, field in inputs.model_fields.items():
        if is_file(inputs, name) or is_text(inputs, name):
            size = limits_of(inputs, name).max_bytes // MIB
            shown = f"{size // 1024} GiB" if size >= 1024 else f"{size} MiB"
            assert shown in field.description, name
