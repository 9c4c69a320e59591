"""The Lua files as the two texts that Redis keeps: a library of Redis Functions with all verbs, and a script for some.

It sends nothing and knows no verb's meaning.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from redis.exceptions import NoScriptError, ResponseError

LIBRARIES = "backlot_"
"""Begin of the name of each release's library. The rest is the hash of its text, so that two releases live together."""
SHARED = (
    "_server",
    "_reading",
    "_owed",
    "_batches",
    "_record",
    "_usage",
    "_common",
    "_parking",
    "_citing",
    "_same",
    "_aside",
    "_chains",
)
"""Lua files that every verb needs, in their order."""
FURTHER = {
    "amend": ("_quotas",),
    "claim": ("_passing", "_closed", "_next"),
    "limits": ("_quotas",),
    "open_batch": ("_quotas",),
    "put_schedule": ("_quotas",),
    "report": ("_passing", "_so_far"),
    "submit": ("_quotas", "_sources"),
    "upload": ("_quotas",),
}
"""Lua files that a verb needs beside the shared ones."""
AS_SCRIPT = "redis.call('DEL', 'bl:none')\nreturn dispatch(ARGV)\n"
"""Last lines of a script. At maxmemory Redis rejects one whose first write allocates; a DEL first lets it proceed."""
AS_FUNCTION = (
    "redis.register_function{{function_name = '{name}', flags = {{'allow-oom'}},\n"
    "  callback = function(_, ARGV) return dispatch(ARGV) end}}\n"
)
"""Last lines of the library. `allow-oom` lets it proceed at maxmemory, as the DEL does."""


@dataclass(frozen=True)
class Text:
    """A Lua text that Redis keeps. `run` and `load`: the first words of the command that runs it, and all words of the
    command that loads it."""

    run: tuple[str, str, int]
    load: tuple[str, str, str]


@cache
def library() -> Text:
    """All verbs as one Redis Function, whose closures Redis makes once, where it is loaded."""
    verbs = sorted(file.name.removesuffix(".lua") for file in files("tasks.ledger").joinpath("scripts").iterdir())
    body = _text(verb for verb in verbs if not verb.startswith("_"))
    name = LIBRARIES + hashlib.sha256((body + AS_FUNCTION).encode()).hexdigest()[:16]
    whole = f"#!lua name={name}\n{body}{AS_FUNCTION.format(name=name)}"
    return Text(("FCALL", name, 0), ("FUNCTION", "LOAD", whole))


@cache
def script(verbs: tuple[str, ...]) -> Text:
    """The script that does lists of these verbs.

    One script for all verbs would be simpler, but Redis makes every function of a script anew at each call: 100 us.
    """
    whole = _text(verbs) + AS_SCRIPT
    sha = hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()
    return Text(("EVALSHA", sha, 0), ("SCRIPT", "LOAD", whole))


def is_missing(error: ResponseError) -> bool:
    """True for the answer of a server that has not loaded the text."""
    return isinstance(error, NoScriptError) or str(error) == "Function not found"


def is_loaded(error: ResponseError) -> bool:
    """True for the answer to a second FUNCTION LOAD."""
    return str(error).endswith("already exists")


def _text(verbs: Iterable[str]) -> str:
    """The shared files, each verb as a function of its keys and arguments, the dispatcher."""
    verbs, further = list(verbs), dict.fromkeys(SHARED)
    for verb in verbs:
        further |= dict.fromkeys(FURTHER.get(verb, ()))
    functions = "".join(f"verbs.{verb} = function(KEYS, ARGV)\n{_lua(verb)}end\n" for verb in verbs)
    return f"{''.join(map(_lua, further))}local verbs = {{}}\n{functions}{_lua('_dispatch')}"


@cache
def _lua(name: str) -> str:
    return files("tasks.ledger").joinpath("scripts", f"{name}.lua").read_text() + "\n"
