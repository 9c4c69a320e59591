"""The check after each test (tests/traces.py), on tests that leave something behind."""

import os
import subprocess
import sys

import pytest

from tests.stack import ROOT

LEAKS = {
    "environment BACKLOT_LEFT": "os.environ['BACKLOT_LEFT'] = '1'",
    "environment PATH": "os.environ['PATH'] += ':/more'",
    "environment HOME": "del os.environ['HOME']",
    "working folder": "os.chdir('/')",
    "umask": "os.umask(0o077)",
    "handler of SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "sys.path": "sys.path.append('/more')",
    "level of the root logger": "logging.getLogger().setLevel(5)",
    "default timeout of sockets": "socket.setdefaulttimeout(5)",
}

NO_CI = {"CI": "", "BUILD_NUMBER": ""}
"""Where one is set, pytest repeats each error, whole, in its summary."""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """What pytest says of a file whose tests leak, one after another, and of one that changes all for its own time."""
    folder = tmp_path_factory.mktemp("leaking")
    tests = "".join(f"def test_{number}():\n    {code}\n" for number, code in enumerate(LEAKS.values()))
    (folder / "test_leaks.py").write_text(
        f"import logging, os, signal, socket, sys\n{tests}"
        "def test_clean(monkeypatch):\n    monkeypatch.setenv('BACKLOT_LEFT', '1')\n    monkeypatch.chdir('/')\n"
        "    os.environ['PYTORCH_MADE_AT_IMPORT'] = '1'\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.traces",
            "-p",
            "no:cacheprovider",
            str(folder),
            "--rootdir",
            str(folder),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **NO_CI, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


@pytest.mark.parametrize("name", LEAKS)
def test_what_a_test_leaves_behind_is_named(report, name):
    """Once each: what was left is put back for the tests that follow."""
    assert report.count(f"left a trace in the process: {name} was") == 1, report


def test_what_is_put_back_is_no_trace(report):
    """monkeypatch undoes its own before the check looks; variables that a library sets at its import are its own."""
    assert f"{len(LEAKS) + 1} passed, {len(LEAKS)} errors" in report, report
