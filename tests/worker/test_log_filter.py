"""The filter of logs: secrets and folders go, the rest stays."""

import sys
import tempfile

import pytest

import tasks
from tests.stack import PASSWORD, SECRET_KEY
from worker.log_file import FIRST_BYTES, LAST_BYTES, Written
from worker.log_filter import LogFilter

HOME = tasks.__file__.removesuffix("/tasks/__init__.py")
TEMP = tempfile.gettempdir()


@pytest.fixture
def shown(settings, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-the-hub")
    monkeypatch.setenv("SOME_KEY_FILE", "a-file")
    made = LogFilter(settings)
    return lambda text: made.text(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (f"password={PASSWORD}", "password=***"),
        (f"{SECRET_KEY}!", "***!"),
        ("a-token-of-the-hub in a-file", "*** in a-file"),
        ("key bk_" + "x" * 43, "key ***"),
        ("Authorization: Bearer abcdefghij", "Authorization: Bearer ***"),
        ("rediss://user:word@host:6379/0", "rediss://***@host:6379/0"),
        (
            "GET https://b.s3.eu/k%20.wav?X-Amz-Credential=a&X-Amz-Signature=b 200",
            "GET https://b.s3.eu/k%20.wav?*** 200",
        ),
        (f'File "{HOME}/tasks/generate/hf.py", line 3', 'File "tasks/generate/hf.py", line 3'),
        (f'File "{sys.prefix}/x/y.py"', 'File "x/y.py"'),
        (f"reads {TEMP}/backlot-a_1b/12/34/1/inputs/talk.mp3", "reads inputs/talk.mp3"),
        (f"reads {TEMP}/other/talk.mp3", "reads other/talk.mp3"),
        ("weights /srv/models/x.safetensors.", "weights x.safetensors."),
        ("file:///etc/app/x.conf", "x.conf"),
        ("1/2 and/or 3 / 4 ~/x ./a/b http://h/a/b", "1/2 and/or 3 / 4 ~/x ./a/b http://h/a/b"),
        ("10%\r20%\r\nend\tof\x1b[0m\x00", "10%\n20%\nend\tof\ufffd[0m\ufffd"),
        ("\udcff é", "\ufffd é"),
    ],
)
def test_secrets_and_folders_are_taken_out_and_the_rest_stays(shown, written, seen):
    assert shown(written) == seen


def test_a_cut_divides_no_secret(settings):
    """The lines that a cut may have divided are left out, and counted."""
    half = len(PASSWORD) // 2
    first = b"a\n" + b"x" * (FIRST_BYTES - 2 - half) + PASSWORD[:half].encode()
    last = PASSWORD[half:].encode() + b"x" * (LAST_BYTES - len(PASSWORD) + half - 2) + b"\nz"
    text = LogFilter(settings).whole(Written(first, 10, last))
    head, _, rest = text.partition("\n[")
    number, _, tail = rest.partition(" bytes are left out here]\n")
    assert PASSWORD[:half] not in head and PASSWORD[half:] not in tail and tail.endswith("\nz")
    assert int(number.replace(",", "")) + len(head) + len(tail) == FIRST_BYTES + LAST_BYTES + 10


@pytest.mark.parametrize("piece", ["/", "/a", "a://", "?", "bk_", "x", "/tmp/", "https://a@b/c?d#", "é", "=/"])
def test_no_text_holds_up_the_filter(shown, piece):
    """A quarter of a MiB of anything; a pattern that looks back would take minutes."""
    assert shown(piece * ((FIRST_BYTES + LAST_BYTES) // len(piece)) + f" {PASSWORD}").endswith(" ***")
