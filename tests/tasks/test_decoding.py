"""Decoding apart: what the decoder of a stranger's file can do, and what becomes of the caller when it goes wrong."""

import ctypes
import io
import logging
import os
import platform
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tasks.confinement import CALLS
from tasks.decoding import HEAD, MEMORY_BYTES, PIECE, REFUSED, Decoder, _next
from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tests.stack import until

DECODES_WITH = ()


def hostile(file: BinaryIO) -> Iterator[bytes]:
    """A decoder that the file has taken over: it does what the file says, and tells how far it came."""
    what = file.read().decode()
    match what:
        case "echo":
            yield b"one"
            yield b"two"
        case "refuse":
            raise UnsupportedMedia("no such thing")
        case "raise":
            raise KeyError("something")
        case "crash":
            yield b"one"
            os.abort()
        case "eat":
            yield str(len(bytes(2 * MEMORY_BYTES))).encode()
        case "endless":
            while True:
                yield bytes(65536)
        case "environment":
            yield "\n".join(os.environ).encode()
        case "pid":
            yield str(os.getppid()).encode()
        case "open" | "connect" | "write" | "delete" | "signal" | "read_memory" | "limit" | "start" | "thread":
            try:
                yield tried(what)
            except OSError as error:
                yield f"refused: {error}".encode()


def tried(what: str) -> bytes:
    if what == "open":
        return Path("/etc/passwd").read_bytes()
    if what == "write":
        return str(Path("/tmp/taken-over").write_text("x")).encode()
    if what == "delete":
        return str(os.unlink("/tmp/taken-over")).encode()
    if what == "signal":
        return str(os.kill(os.getppid(), 0)).encode()
    if what == "limit":
        return str(resource.prlimit(os.getppid(), resource.RLIMIT_CORE)).encode()
    if what == "start":
        return str(os.fork()).encode()
    if what == "thread":
        began = threading.Event()
        try:
            threading.Thread(target=began.set, daemon=True).start()
        except RuntimeError as error:
            raise OSError(1, str(error)) from error
        return str(began.wait(10)).encode()
    if what == "read_memory":
        nowhere = ctypes.create_string_buffer(16)
        if ctypes.CDLL(None, use_errno=True).process_vm_readv(os.getppid(), nowhere, 0, nowhere, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")
        return b"read"
    with socket.socket():
        return b"connected"


HOSTILE = Decoder(f"{__name__}:hostile")
THREADED = Decoder(f"{__name__}:hostile", threads=True)


@pytest.fixture
def decoded(tmp_path):
    """decoded("echo"): the pieces that come back for a file with this text."""

    def run(text: str) -> list[bytes]:
        path = tmp_path / "file"
        path.write_text(text)
        return list(HOSTILE.stream(path))

    return run


def test_pieces_come_as_they_were_made(decoded):
    assert decoded("echo") == [b"one", b"two"]


def test_an_error_of_ours_is_the_callers(decoded):
    with pytest.raises(UnsupportedMedia, match="no such thing"):
        decoded("refuse")
    with pytest.raises(RuntimeError, match="KeyError"):
        decoded("raise")


def test_a_decoder_that_crashes_fails_its_file_alone(decoded):
    """The caller lives, and the next file is decoded."""
    with pytest.raises(InvalidInput, match="ends the process that decodes it"):
        decoded("crash")
    assert decoded("echo") == [b"one", b"two"]


def test_a_decoder_that_eats_memory_is_stopped(decoded):
    with pytest.raises(TooLarge, match="MiB"):
        decoded("eat")


@pytest.mark.parametrize("what", ["open", "connect", "write"])
def test_a_decoder_that_was_taken_over_can_open_nothing(decoded, what):
    (told,) = decoded(what)
    assert told.startswith((b"refused: [Errno 24]", b"refused: [Errno 1]")), told


@pytest.mark.skipif(platform.machine() not in CALLS or sys.platform != "linux", reason="seccomp is Linux'")
@pytest.mark.parametrize("what", ["delete", "signal", "read_memory", "limit", "start", "thread"])
def test_a_decoder_that_was_taken_over_reaches_no_process_and_no_file(decoded, what):
    """Of its own user: what has its descriptor, or the memory of who does, has the passwords."""
    (told,) = decoded(what)
    assert told.startswith(b"refused: [Errno 1]"), told


@pytest.mark.skipif(platform.machine() not in CALLS or sys.platform != "linux", reason="seccomp is Linux'")
def test_a_decoder_whose_library_starts_threads_may_start_those_alone(tmp_path):
    """The rest is refused as ever, a process among it."""
    assert list(THREADED.stream(_written(tmp_path, "thread"))) == [b"True"]
    for what in ("delete", "signal", "read_memory", "limit", "start"):
        (told,) = THREADED.stream(_written(tmp_path, what))
        assert told.startswith(b"refused: [Errno 1]"), (what, told)


def test_it_has_no_settings_and_so_no_credentials(decoded, monkeypatch):
    monkeypatch.setenv("BACKLOT_S3_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    HOSTILE._control = None  # a new host, with this environment to choose from
    (names,) = decoded("environment")
    assert not [name for name in names.decode().split() if name.startswith(("BACKLOT", "AWS"))]


def test_a_caller_that_stops_early_ends_the_decoding(tmp_path):
    path = tmp_path / "file"
    path.write_text("endless")
    stream = HOSTILE.stream(path)
    next(stream)
    stream.close()
    host = int(next(HOSTILE.stream(_written(tmp_path, "pid"))))
    until(lambda: not _children(host), what="no decoder is left")


def test_files_are_decoded_side_by_side(tmp_path):
    """A slow one keeps no other waiting."""
    slow = HOSTILE.stream(_written(tmp_path, "endless"))
    next(slow)
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(list(HOSTILE.stream(_written(tmp_path, "echo", n)))))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    slow.close()
    assert answers == [[b"one", b"two"]] * 4


def test_a_host_that_is_gone_is_started_again(decoded):
    (host,) = decoded("pid")
    os.kill(int(host), 9)
    until(lambda: not Path(f"/proc/{int(host)}/statm").read_text().split()[0].strip("0"), what="it is gone")
    assert decoded("echo") == [b"one", b"two"]


def test_a_piece_is_no_larger_than_what_a_decoder_may_hold():
    """A decoder that was taken over may say anything of what follows; the caller must not make room for it."""
    with pytest.raises(InvalidInput, match="ends the process"):
        _next(io.BytesIO(HEAD.pack(PIECE, MEMORY_BYTES + 1)))
    assert _next(io.BytesIO(HEAD.pack(PIECE, 3) + b"one")) == b"one"


@pytest.mark.parametrize(
    "told",
    [
        b"no JSON",
        b"[]",
        b"{}",
        b'{"error": "json", "detail": "", "retryable": false}',
        b'{"error": "InvalidInput", "detail": 7, "retryable": 1}',
    ],
)
def test_an_error_that_is_none_is_the_files_fault(told):
    with pytest.raises(InvalidInput, match="ends the process"):
        _next(io.BytesIO(HEAD.pack(REFUSED, len(told)) + told))


def _written(folder: Path, text: str, number: int = 0) -> Path:
    path = folder / f"{text}-{number}"
    path.write_text(text)
    return path


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the files of a process")
def test_a_decoder_says_to_the_workers_log_what_it_says(tmp_path, monkeypatch):
    """The process lives on: it would hold the log of the job that started it."""
    handler = logging.FileHandler(tmp_path / "worker.log")
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    host = int(next(Decoder(f"{__name__}:hostile").stream(_written(tmp_path, "pid"))))
    assert os.readlink(f"/proc/{host}/fd/2") == str(tmp_path / "worker.log")
