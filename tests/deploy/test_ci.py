""".ci/run: every suite, with the data only where it is, before a `make` that only notes its calls."""

import os
import shutil
import subprocess

import pytest

from tests.stack import ROOT


@pytest.fixture
def ran(tmp_path):
    """ran(fails="test", BACKLOT_DATA=...): exit status, calls of make (each with its BACKLOT_DATA), what it printed."""
    checkout, tools = tmp_path / "check out", tmp_path / "bin"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci")
    tools.mkdir()
    (tools / "make").write_text(
        '#!/bin/sh\necho "$1 ${BACKLOT_DATA-unset}" >>"$CALLS"\necho "log of $1"\n[ "$1" != "$FAILS" ]\n'
    )
    (tools / "make").chmod(0o755)

    def run(fails: str = "", **env: str) -> tuple[int, list[str], str]:
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            [checkout / ".ci" / "run"],
            cwd="/",
            env={"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls), "FAILS": fails, **env},
            capture_output=True,
            text=True,
        )
        return done.returncode, calls.read_text().splitlines(), done.stdout

    return run


def test_only_one_suite_sees_the_data(ran, tmp_path):
    """Without data its suite is left out and the table says so; a folder beside the checkout is found."""
    status, calls, printed = ran()
    assert status == 0 and "test unset" in calls and not any("test-data" in call for call in calls)
    assert "test-data          not run" in printed
    status, calls, _ = ran(BACKLOT_DATA="/data")
    assert status == 0 and [call for call in calls if not call.endswith(" unset")] == ["test-data /data"]
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert f"test-data {tmp_path}/shared/data" in ran()[1]


@pytest.mark.parametrize("fails", ["check", "test", "test-data", "bench-quick"])
def test_a_failure_keeps_none_from_running_and_its_log_is_at_the_end(ran, fails):
    """The table comes last, the log of the first failure before it."""
    everything = ran(BACKLOT_DATA="/data")[1]
    status, calls, printed = ran(fails, BACKLOT_DATA="/data")
    assert status != 0 and calls == everything
    end = printed.partition(f"the first failure: make {fails} ====")[2]
    assert f"log of {fails}\n" in end and end.count("FAILED") == 1 and end.count("passed") == len(calls) - 1
