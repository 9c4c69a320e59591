"""supervisord of this checkout: start it, ask it, end it, and find what outlived it. Knows no program by name."""

import contextlib
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from deploy.local.programs import MARK, SUPERVISOR_CONF, SUPERVISOR_SOCKET
from deploy.local.state import LOGS, ROOT

Info = Mapping[str, Any]  # one program as supervisord describes it: name, statename, pid, start, now, spawnerr


def programs() -> list[Info] | None:
    """Every program of the running supervisord; empty where it is just ending, None where none runs."""
    try:
        return list(_server().getAllProcessInfo())
    except xmlrpc.client.Fault:  # it answers nothing else once it shuts down
        return []
    except (OSError, HTTPException):
        return None


def start(env: Mapping[str, str]) -> None:
    """Start supervisord in the background with the environment given; errors: RuntimeError."""
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(SUPERVISOR_CONF)]
    started = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if started.returncode:
        raise RuntimeError(f"supervisord did not start: {(started.stderr or started.stdout).strip()}")


def start_stopped() -> None:
    """Start again what has stopped or given up."""
    for info in programs() or []:
        if info["statename"] in ("STOPPED", "EXITED", "FATAL"):
            with contextlib.suppress(xmlrpc.client.Fault):
                _server().startProcess(f"{info['group']}:{info['name']}", False)


def shutdown(patience_s: float) -> None:
    """Ask supervisord to stop all programs and itself, and wait until no process of this stack is left."""
    with contextlib.suppress(OSError, HTTPException, xmlrpc.client.Fault):  # a fault: it is on its way already
        _server().shutdown()
    deadline = time.monotonic() + patience_s
    while _marked() and time.monotonic() < deadline:
        time.sleep(0.2)
    end_strays()


def end_strays(patience_s: float = 30) -> None:
    """End every process that carries this checkout's mark: what a killed supervisord left behind.

    Two servers on one folder would ruin it, so none may be left. Parents are asked first, since a
    pool's parent ends its own children in good order; what remains is killed.
    """
    strays = _marked()
    known = {process.pid for process in strays}
    for process in strays:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in known:
                process.terminate()
    psutil.wait_procs(strays, timeout=patience_s)
    for process in _marked():
        with contextlib.suppress(psutil.Error):
            process.kill()


def log_tail(name: str, lines: int = 15) -> str:
    """The last lines of a program's log."""
    path = LOGS / f"{name}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def _server() -> Any:
    transport = SupervisorTransport(serverurl=f"unix://{SUPERVISOR_SOCKET}")
    return xmlrpc.client.ServerProxy(f"http://{SUPERVISOR_SOCKET.name}", transport=transport).supervisor


def _marked() -> list[psutil.Process]:
    """Processes of this stack, by their environment; those of other users cannot be read and are not ours."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(ROOT):
                found.append(process)
    return found
