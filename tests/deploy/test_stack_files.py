"""What the local stack writes and finds out before anything is started."""

import configparser
import os
import shlex
import socket
import stat
import subprocess
import sys

import pytest

from api import keyfile
from deploy.local import programs, state
from deploy.local.ports import free_port, is_free
from tasks.settings import Settings

SECRETS = ("redis_password", "s3_secret_access_key", "api_key", "operator_key")


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """A new stack's state, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return state.save(state.Stack())


def test_a_stack_comes_back_as_it_was(stack):
    """Ports, passwords and keys stay from one start to the next."""
    assert state.save(state.load()) == stack


def test_what_holds_a_secret_is_for_its_owner_alone(stack):
    """0600 in a folder of 0700."""
    for path in (state.CONFIG, state.ENV, state.KEYS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.STATE.stat().st_mode) == 0o700


def test_keys_added_by_hand_stay(stack):
    """The key file is the operator's once it exists."""
    key = keyfile.add(state.KEYS, "acme")
    state.save(stack)
    assert keyfile.digest(key) in {known.sha256 for known in keyfile.read(state.KEYS)}


def test_the_environment_file_can_be_sourced(stack):
    """A shell sees what the settings say, whatever characters are in it."""
    shown = subprocess.run(["sh", "-c", f". {state.ENV} && env"], capture_output=True, text=True, check=True).stdout
    assert {f"{name}={value}" for name, value in stack.env().items()} <= set(shown.splitlines())


def test_the_settings_written_are_settings(stack):
    """No name that tasks/settings.py does not know."""
    names = {name.removeprefix("BACKLOT_").lower() for name in stack.settings()}
    assert names <= set(Settings.model_fields)


def test_no_secret_stands_in_a_command(stack):
    """Any user of the machine may list commands."""
    listed = programs.programs(stack, Settings())
    text = " ".join(argument for program in listed for argument in program.command)
    assert [name for name in SECRETS if getattr(stack, name) in text] == []


def test_programs_do_not_get_the_callers_keys(stack, monkeypatch):
    """A sourced .backlot/env does not leak into the services."""
    monkeypatch.setenv("BACKLOT_OPERATOR_KEY", stack.operator_key)
    assert stack.operator_key not in programs.environment(stack).values()


def test_supervisord_reads_a_command_as_it_was_meant():
    """Quotes, spaces and percent signs come through its configuration."""
    command = [sys.executable, "-c", "print('100 %')", "a b"]
    parser = configparser.RawConfigParser()
    parser.read_string(programs.supervisor_conf([programs.Program("one", 1, command)]))
    assert shlex.split(parser["program:one"]["command"].replace("%%", "%"))[1:] == command[1:]


def test_a_program_is_killed_only_after_its_grace():
    """supervisord's own default of 10 s would cut a draining pool short."""
    parser = configparser.RawConfigParser()
    parser.read_string(programs.supervisor_conf([programs.Program("cpu", 1, ["x"], grace_s=30)]))
    section = parser["program:cpu"]
    assert int(section["stopwaitsecs"]) > 30
    assert section["stopasgroup"] == section["killasgroup"] == "false"


def test_no_line_is_cut_in_a_pipe():
    """Of a table neither: why a program does not start may be long."""
    code = (
        "from rich.table import Table; from deploy.local.stack import console; table = Table('program', 'since'); "
        "table.add_row('keeper', 'why ' * 60); console.print(table)"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=state.ROOT, capture_output=True, text=True, check=True)
    assert "why " * 60 in shown.stdout


def test_a_taken_port_is_noticed_and_another_found():
    """The next one that is free, and none of those already given away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        found = free_port(port)
        assert found != port
        assert free_port(found, besides=[found]) != found


def test_an_ordinary_shell_finds_a_python_or_is_told_in_one_line(tmp_path):
    """On a machine without a usable Python there is one line that says which are."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname"):
        os.symlink(
            subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip(), tools / tool
        )
    (tools / "python3.12").write_text("#!/bin/sh\nexit 127\n")  # as a pyenv shim that leads nowhere
    (tools / "python3.12").chmod(0o755)
    checkout = tmp_path / "checkout" / "deploy" / "local"
    checkout.mkdir(parents=True)
    script = checkout / "python.sh"
    script.write_text((state.ROOT / "deploy/local/python.sh").read_text())
    told = subprocess.run(["sh", str(script), "base", "-V"], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert told.returncode == 1
    assert (
        told.stderr == "Backlot needs Python 3.11, 3.12 or 3.13 on the PATH (or PYTHON=/path/to/python3), "
        "and found none.\n"
    )
