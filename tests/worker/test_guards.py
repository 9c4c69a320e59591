"""What must not end a thread, lose a claim or mix two jobs' files: bad messages, a full disk, calls that were left."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from tasks.apart import Apart
from tasks.errors import Canceled
from tests.stack import ROOT, until
from worker.link import started
from worker.processes import Processes
from worker.slot import Slot


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path / "link")
    made.main = SimpleNamespace(pid=-1, is_alive=lambda: True)
    yield made
    made.close()


def line_to(path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(path))
    line.settimeout(10)
    return line


def test_the_parent_outlives_messages_that_are_none(processes, tmp_path):
    """Of a process that it knows, and of one that says no hello; the messages after them are heard."""
    with line_to(tmp_path / "link") as stranger, line_to(tmp_path / "link") as known:
        stranger.sendall(b"hello?\n")
        known.sendall(
            json.dumps({"hello": "runner", "pid": os.getpid(), "started": started(os.getpid())}).encode()
            + b'\n[1]\nnonsense\n7\n{"other": 1}\n{"serving": "bell"}\n'
        )
        until(lambda: processes.wait(0.05) or processes.bells == 1)
        assert stranger.recv(100) == b"", "who says no hello is hung up on"
        known.sendall(b'\xff\xfe\n{"serving": "another"}\n')
        until(lambda: processes.wait(0.05) or processes.bells == 2)


def test_a_process_outlives_messages_that_are_none(tmp_path):
    """The stop behind them is heard."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "link"))
        listener.listen()
        code = (
            "import sys, time; from worker.link import Link; "
            "Link(sys.argv[1], 'runner', lambda message: print(message['stop'], flush=True)); time.sleep(60)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "link")], stdout=subprocess.PIPE, cwd=ROOT
        ) as child:
            line, _ = listener.accept()
            line.sendall(b'nonsense\n{"other": 1}\n{"stop": "token"}\n')
            assert child.stdout.readline() == b"token\n"
            line.close()  # without its parent it ends itself
            assert child.wait(30) != 0


def test_folders_that_cannot_be_emptied_are_left_for_new_ones(tmp_path, monkeypatch):
    """The next job, which may have been claimed by then, is not lost for that."""
    slot = Slot("w:1:2:3", tmp_path / "3")
    (slot.inputs / "audio").write_text("of the job before")
    before = slot.inputs

    def full(*_, **__):
        raise OSError("no")

    monkeypatch.setattr(os, "unlink", full)
    slot.tidy(was_stopped=False)
    assert slot.inputs != before and not list(slot.inputs.iterdir()) and not list(slot.outputs.iterdir())
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    slot.outputs.parent.with_name(str(slot.rooms + 1)).write_text("in the way")
    slot.tidy(was_stopped=True)  # says so in the log, and no more


def test_what_a_stopped_job_left_behind_writes_into_no_other_jobs_folder(tmp_path):
    """A fetch that could not be interrupted goes on; its file is nobody's."""
    slot, goes_on, wrote = Slot("w:1:2:3", tmp_path / "3"), threading.Event(), threading.Event()
    target = slot.inputs / "audio"

    def fetch() -> None:
        goes_on.wait(10)
        try:
            target.write_text("late")
        finally:
            wrote.set()

    stopped = iter([False, True])

    def check() -> None:
        if next(stopped, True):
            raise Canceled("stopped")

    with pytest.raises(Canceled):
        Apart("test", 1).call(fetch, check)
    slot.tidy(was_stopped=True)
    goes_on.set()
    assert wrote.wait(10)
    assert not list(slot.inputs.iterdir())


def test_calls_apart_are_bounded_and_who_waits_for_one_may_leave():
    """A call that was left counts until it ends."""
    apart, over = Apart("test", 1), threading.Event()
    left = iter([False, True])

    def check() -> None:
        if next(left, True):
            raise Canceled("stopped")

    with pytest.raises(Canceled):
        apart.call(lambda: over.wait(10), check)
    with pytest.raises(Canceled):
        apart.call(lambda: pytest.fail("there is no room"), check)
    over.set()
    assert apart.call(lambda: 7, lambda: None) == 7
    with pytest.raises(TimeoutError, match="its own"):
        apart.call(lambda: (_ for _ in ()).throw(TimeoutError("its own")), lambda: None)
