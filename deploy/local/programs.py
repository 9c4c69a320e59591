"""The programs of the stack as supervisord's configuration, and the environment they share.

Each is signalled alone, never as a group: the pools end their own processes, in their own time. Every
path is relative to the checkout's root, so that neither spaces in it nor the length limit of Unix
sockets matter.
"""

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local import servers
from deploy.local.state import LOGS, ROOT, S3, STATE, Stack
from tasks.settings import Settings

SUPERVISOR_CONF = STATE / "supervisord.conf"
SUPERVISOR_SOCKET = STATE / "supervisor.sock"
REDIS_CONF = STATE / "redis.conf"
MARK = "BACKLOT_STACK"  # in the environment of every process of a stack: the checkout it belongs to
API_PROCESSES = 2
CPU_SLOTS_MAX = 4  # of a person's own machine; each is a process with its own copy of the models
POOLS = 3  # priority of the workers; those of one pool each
MARGIN_S = 15  # on top of a program's own grace, before supervisord kills it


@dataclass(frozen=True)
class Program:
    """One supervised program; those of lower priority start first and stop last."""

    name: str
    priority: int
    command: list[str]
    grace_s: float = 0


def programs(stack: Stack, settings: Settings) -> list[Program]:
    """Servers first, then what needs them."""
    ports = stack.ports
    worker = [sys.executable, "-m", "worker"]
    return [
        Program("redis", 1, servers.redis_command(REDIS_CONF)),
        Program("s3", 1, servers.s3_command(S3, ports.s3)),
        Program("keeper", 2, [*worker, "keeper"]),
        *(Program(pool, POOLS, [*worker, pool], settings.grace_s) for pool in settings.pools),
        Program("api", 4, _api(ports.api), settings.http_grace_s),
    ]


def _api(port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "api",
        "--host",
        servers.LOOPBACK,
        "--port",
        str(port),
        "--processes",
        str(API_PROCESSES),
    ]


def supervisor_conf(listed: list[Program]) -> str:
    """supervisord.conf as text."""
    user = "user=root\n" if os.getuid() == 0 else ""  # without it supervisord warns that it stays root
    head = f"""\
[supervisord]
logfile={LOGS}/supervisord.log
pidfile={STATE}/supervisord.pid
umask=077
{user}
[unix_http_server]
file={SUPERVISOR_SOCKET}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    pools = ",".join(program.name for program in listed if program.priority == POOLS)
    group = f"\n[group:pools]\nprograms={pools}\npriority={POOLS}\n"  # a group stops at once: all drain side by side
    return head + "".join(_section(program) for program in listed) + (group if pools else "")


def _section(program: Program) -> str:
    return f"""
[program:{program.name}]
command={_command(program.command)}
priority={program.priority}
stdout_logfile={LOGS}/{program.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
redirect_stderr=true
autorestart=true
startsecs=2
startretries=100
stopsignal=TERM
stopasgroup=false
killasgroup=false
stopwaitsecs={int(program.grace_s + MARGIN_S)}
"""


def _command(arguments: list[str]) -> str:
    inside = str(ROOT) + os.sep
    relative = [os.path.relpath(a, ROOT) if a.startswith(inside) else a for a in arguments]
    return shlex.join(relative).replace("%", "%%")  # supervisord expands %(names)s


def settings_digest(env: Mapping[str, str]) -> str:
    """Changes when a setting does that any program reads from the environment."""
    names = sorted(f"BACKLOT_{field.upper()}" for field in Settings.model_fields)
    return hashlib.sha256(repr([(name, env.get(name)) for name in names]).encode()).hexdigest()


def environment(stack: Stack) -> dict[str, str]:
    """What supervisord hands to all programs. Secrets travel here: not in arguments, which any user may list."""
    env = servers.s3_environment(stack.s3_access_key_id, stack.s3_secret_access_key)
    env.update(stack.settings())
    for name in ("BACKLOT_API_KEY", "BACKLOT_OPERATOR_KEY"):  # callers' alone; there where .backlot/env was sourced
        env.pop(name, None)
    env[MARK] = str(ROOT)
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("BACKLOT_CPU_SLOTS", str(min(CPU_SLOTS_MAX, os.cpu_count() or 1)))
    for name in ("NO_PROXY", "no_proxy"):  # the stack talks to itself, never through a proxy
        env[name] = ",".join(filter(None, [env.get(name), servers.LOOPBACK]))
    if sys.platform == "darwin":
        env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"  # else macOS ends forked children that look up a proxy
    return env
