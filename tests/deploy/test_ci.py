""".ci/run: the suite without the data sets first, then what needs them; before a `make` that only notes its calls."""

import os
import shutil
import subprocess

import pytest

from tests.stack import ROOT


@pytest.fixture
def ran(tmp_path):
    """ran(fails="test", BACKLOT_DATA=...) is the exit status and the calls of make, each with its BACKLOT_DATA."""
    checkout, tools = tmp_path / "check out", tmp_path / "bin"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci")
    tools.mkdir()
    (tools / "make").write_text('#!/bin/sh\necho "$1 ${BACKLOT_DATA-unset}" >>"$CALLS"\n[ "$1" != "$FAILS" ]\n')
    (tools / "make").chmod(0o755)

    def run(fails: str = "", **env: str) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            [checkout / ".ci" / "run"],
            cwd="/",
            env={"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls), "FAILS": fails, **env},
        )
        return done.returncode, calls.read_text().splitlines()

    return run


def test_the_suite_runs_without_the_data_and_then_with_it(ran, tmp_path):
    """Where there is none, only the first; a folder beside the checkout is found."""
    assert ran() == (0, ["test unset"])
    assert ran(BACKLOT_DATA="/data") == (0, ["test unset", "test-data /data"])
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert ran() == (0, ["test unset", f"test-data {tmp_path}/shared/data"])


@pytest.mark.parametrize(("fails", "calls"), [("test", 1), ("test-data", 2)])
def test_either_failing_is_a_failure(ran, fails, calls):
    status, made = ran(fails, BACKLOT_DATA="/data")
    assert status != 0 and len(made) == calls
