"""Bring the stack up and down, and say how it is: what `make up`, `down`, `status` and `logs` do."""

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from api import keyfile
from deploy.local import install, state, supervision
from deploy.local.ports import free_port
from deploy.local.programs import (
    MARGIN_S,
    REDIS_CONF,
    SUPERVISOR_CONF,
    environment,
    programs,
    settings_digest,
    supervisor_conf,
)
from deploy.local.servers import redis_config
from deploy.local.state import ENV, LOGS, REDIS, Ports, Stack
from tasks.models_file import Misconfigured
from tasks.settings import Settings

READY_S = 120  # from the start to the first ready answer, on a slow machine
CRASHING_S = 15  # for which a program may fail to start again and again, before we say so

UNCUT = 10_000  # columns, where nobody looks at a screen

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else UNCUT)


class NotUp(Exception):
    """The stack did not come up; the message says what is wrong and shows the log."""


def up() -> Stack:
    """Start what does not run yet and wait until the API is ready. Errors: NotUp; Misconfigured, before anything is
    started or stopped."""
    with _alone():
        stack = state.load()
        for line in checked(stack):
            console.print(line)
        running = bool(supervision.programs())
        if not running:
            down()  # what is just ending, or was left by a supervisord that was killed
            stack = _with_free_ports(stack)
        stack = state.save(stack)
        changed = _configure(stack)
        if running and changed:
            console.print("The configuration or the packages have changed: restarting.")
            down()
        if running and not changed:
            supervision.start_stopped()
        else:
            supervision.start(environment(stack))
        _wait_until_ready(stack)
    return stack


def down() -> None:
    """Stop everything; running jobs finish within their grace or go back to their line. No harm where nothing runs."""
    if supervision.programs() is None:
        supervision.end_strays()
        return
    grace_s = _grace_s()
    with console.status(f"stopping; running jobs have {grace_s:g} s to finish, else they wait for the next start"):
        supervision.shutdown(patience_s=2 * (grace_s + MARGIN_S))


def checked(stack: Stack) -> list[str]:
    """Read all that a person may have edited, as the programs will; lines about what may be a typo.

    Errors: Misconfigured.
    """
    settings = _settings(stack)
    absent = settings.registry().absent()
    if absent:
        raise Misconfigured("\n".join(absent))
    if state.KEYS.exists():
        try:
            hashes = {key.sha256 for key in keyfile.read(state.KEYS)}
        except (OSError, ValueError) as error:
            raise Misconfigured(str(error)) from error
        if keyfile.digest(stack.api_key) not in hashes:
            raise Misconfigured(
                f"{state.KEYS} lacks the key of {state.CONFIG}, which this command asks the API with; "
                f"put it back, or remove {state.KEYS} for new keys"
            )
    return Settings.misspelt()


def status() -> bool:
    """Print what runs; False where something that should run does not. A stack that is down is no fault."""
    infos = supervision.programs()
    if infos is None:
        console.print("The stack is down. Start it with: make up")
        return True
    stack = state.load()
    table = Table("program", "state", "pid", "since", "listens on", box=None, pad_edge=False)
    for info in infos:
        name = str(info["name"])
        since = f"{info['now'] - info['start']} s" if info["statename"] == "RUNNING" else info["spawnerr"]
        table.add_row(name, str(info["statename"]), str(info["pid"] or ""), since, _address(name, stack.ports))
    console.print(table)
    problem = _problem(stack)
    console.print(f"\nAPI: {stack.url} ({problem or 'ready'}). Settings and keys: . {ENV}")
    return problem is None and all(info["statename"] == "RUNNING" for info in infos)


def logs() -> None:
    """Follow all logs, in place of this process."""
    files = sorted(str(path) for path in LOGS.glob("*.log")) if LOGS.exists() else []
    if not files:
        raise SystemExit("There are no logs yet. Start the stack with: make up")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def _configure(stack: Stack) -> bool:
    """Write the servers' configuration; whether it, packages, settings or models differ from before."""
    settings = _settings(stack)
    models = hashlib.sha256(settings.models_file().read_bytes()).hexdigest()
    versions = (
        f"; packages {install.fingerprint()}\n; settings {settings_digest(environment(stack))}\n; models {models}\n"
    )
    conf = versions + supervisor_conf(programs(stack, settings))
    wanted = {SUPERVISOR_CONF: conf, REDIS_CONF: redis_config(REDIS, stack.ports.redis, stack.redis_password)}
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        state.write_private(path, wanted[path])
    return bool(changed)


def _settings(stack: Stack) -> Settings:
    """As the programs will have them: the stack's own go before the environment's. Errors: Misconfigured."""
    return Settings.of_environment(
        **{name.removeprefix("BACKLOT_").lower(): value for name, value in stack.settings().items()}
    )


def _grace_s() -> float:
    """How long the pools may take to stop; a wrong variable does not keep a stack from being stopped."""
    try:
        return _settings(state.load()).grace_s
    except Misconfigured:
        return float(Settings.model_fields["grace_s"].default)


def _with_free_ports(stack: Stack) -> Stack:
    """The stack on ports that are free now; says so where one had to change."""
    chosen: dict[str, int] = {}
    for name, wanted in stack.ports.model_dump().items():
        chosen[name] = free_port(wanted, besides=chosen.values())
        if chosen[name] != wanted:
            console.print(f"Port {wanted} is taken; {name} listens on {chosen[name]} instead.")
    return stack.model_copy(update={"ports": Ports(**chosen)})


def _wait_until_ready(stack: Stack) -> None:
    """Until every program runs and the API answers ready; errors: NotUp."""
    start = time.monotonic()
    with console.status("starting Redis, S3, the API, the pools and the keeper"):
        while problem := _not_running() or _problem(stack):
            waited = time.monotonic() - start
            failing = [str(i["name"]) for i in supervision.programs() or [] if i["statename"] in ("BACKOFF", "FATAL")]
            if waited > READY_S or (failing and waited > CRASHING_S):
                suspects = failing or ["keeper", "api"]
                tails = "".join(f"\n--- {LOGS}/{name}.log\n{supervision.log_tail(name)}" for name in suspects)
                raise NotUp(f"The stack is not ready after {waited:.0f} s: {problem}{tails}")
            time.sleep(0.2)


def _not_running() -> str | None:
    infos = supervision.programs()
    if infos is None:
        return f"supervisord does not run; see {LOGS}/supervisord.log"
    waiting = [str(info["name"]) for info in infos if info["statename"] != "RUNNING"]
    return f"not running: {', '.join(waiting)}" if waiting else None


def _problem(stack: Stack) -> str | None:
    """Why the API does not serve our key yet; None where it does. Asked with the key: the port may be another's."""
    try:
        ready = httpx.get(f"{stack.url}/readyz", timeout=10, trust_env=False)
        if ready.status_code != 200:
            return f"not ready: {ready.text.strip()[:300]}"
        headers = {"Authorization": f"Bearer {stack.api_key}"}
        jobs = httpx.get(f"{stack.url}/v1/jobs?limit=1", headers=headers, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        return f"the API does not answer yet ({error})"
    return None if jobs.status_code == 200 else f"the API answers {jobs.status_code} to our key"


def _address(name: str, ports: Ports) -> str:
    port = {"api": ports.api, "redis": ports.redis, "s3": ports.s3, "keeper": ports.metrics}.get(name)
    return f"127.0.0.1:{port}" if port else ""


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One start at a time for this user: two checkouts starting at once would choose the same ports."""
    with Path(tempfile.gettempdir(), f"backlot-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
