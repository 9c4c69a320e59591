"""Makes a log fit to be shown to a caller: text without secrets and without folders of the server.

Secrets are those of the settings and of the environment, whatever has the form of a key, passwords and queries in URLs.
A path inside a known folder is cut to what follows it, any other absolute one to its last name. Knows no job.
"""

import os
import re
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import tasks
from tasks.bucket import credentials
from tasks.errors import StorageUnavailable
from tasks.settings import Settings
from worker.log_file import Written

HIDDEN = "***"
SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL")
NO_SECRET = re.compile(r"_(FILE|DIR|PATH)$")
"""Variables that name a file of secrets have none."""
SHORTEST = 6
"""Characters of a secret of the settings that is looked for: a shorter one would hide parts of words."""
FORMS = re.compile(r"\b(?:bk_[\w-]{20,}|whsec_[\w+/=-]{20,}|hf_\w{20,}|AKIA[0-9A-Z]{16})|(?<=[Bb]earer )[\w.~+/=-]{8,}")
"""API keys of Backlot, signing secrets of webhooks, tokens of the Hugging Face hub, AWS key ids, bearer tokens."""
URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,20}://)([^\s/@'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?")
FILE_URL = re.compile(r"\bfile://(?=/)")
PATH = re.compile(r"(?<![\w:/.~])(?:/[^\s/'\"`:,;()<>]+){2,}/?")
"""An absolute path of two names or more; a URL's is none."""
SCRATCH = r"/backlot-\w+/\d+/\d+/\d+/(?=(?:in|out)puts\b)"
"""The folder of a job on its worker, in the folder for temporary files (parent.py, slot.py)."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REFRESH_S = 10
"""Seconds for which the secrets that were found are used."""
EDGE_BYTES = 4096
"""Bytes at a cut in which a line's end is looked for: half a secret would not be known."""


class LogFilter:
    """The filter of one process, for any number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folders = _pattern(_folders(settings), r"(?<![\w/.-])(?:%s)/")
        self._scratch = re.compile(re.escape(tempfile.gettempdir()) + SCRATCH)
        self._known: tuple[float, re.Pattern[str] | None] = (-REFRESH_S, None)

    def whole(self, written: Written) -> str:
        """The text of a log, with a line in place of the bytes that were left out."""
        if not written.left_out:
            return self.text(written.first)
        first, last = _without_last_line(written.first), _without_first_line(written.last)
        left_out = written.left_out + len(written.first) + len(written.last) - len(first) - len(last)
        return f"{self.text(first)}\n[{left_out:,} bytes are left out here]\n{self.text(last)}"

    def text(self, data: bytes) -> str:
        """Whole lines, as a caller may see them."""
        shown = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        if secrets := self._secrets():
            shown = secrets.sub(HIDDEN, shown)
        shown = FORMS.sub(HIDDEN, shown)
        if "/" in shown:
            shown = URL.sub(_plain_url, FILE_URL.sub("", shown))
            shown = self._scratch.sub("", shown)
            shown = self._folders.sub("", shown) if self._folders else shown
            shown = PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], shown)
        return CONTROL.sub("\N{REPLACEMENT CHARACTER}", shown)

    def _secrets(self) -> re.Pattern[str] | None:
        at, known = self._known
        if time.monotonic() - at >= REFRESH_S:
            found = set(_secrets_of(self._settings))
            known = _pattern(found | {quote(secret, safe="") for secret in found}, "%s")
            self._known = time.monotonic(), known
        return known


def _secrets_of(settings: Settings) -> list[str]:
    """Passwords and keys that this process may know; those of files as they are now."""
    redis = settings.redis()
    found = [redis.password, redis.options.get("sentinel_password")]
    try:
        found.append(redis.password_file.read_text().strip() if redis.password_file else None)
    except (OSError, ValueError):
        found.append(None)
    try:
        keys = credentials.of(settings)
        found += [keys.id, keys.secret, keys.token]
    except StorageUnavailable:
        found.append(None)
    found += [
        value
        for name, value in os.environ.items()
        if SECRET_NAME.search(name.upper()) and not NO_SECRET.search(name.upper())
    ]
    return [secret for secret in found if secret and len(secret) >= SHORTEST]


def _folders(settings: Settings) -> set[str]:
    """Folders of this machine under which a log may name files."""
    here = sysconfig.get_paths()
    named = [
        *(here[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(sys.prefix, sys.base_prefix, tempfile.gettempdir(), os.getcwd(), str(Path.home())),
        str(Path(tasks.__file__).parent.parent),
        str(settings.cache_dir),
    ]
    both = {str(place) for name in named for place in (Path(name).absolute(), Path(name).resolve())}
    return {place for place in both if place.strip("/")}


def _pattern(words: set[str], form: str) -> re.Pattern[str] | None:
    """Finds any of these words, the longest first; None where there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(form % "|".join(map(re.escape, longest_first))) if words else None


def _plain_url(found: re.Match[str]) -> str:
    scheme, login, place, query = found.groups()
    return f"{scheme}{f'{HIDDEN}@' if login else ''}{place}{f'?{HIDDEN}' if query else ''}"


def _without_last_line(first: bytes) -> bytes:
    """The bytes before a cut, without a line that the cut may divide."""
    end = first.rfind(b"\n", -EDGE_BYTES)
    return first[:end] if end >= 0 else first[:-EDGE_BYTES]


def _without_first_line(last: bytes) -> bytes:
    """The bytes behind a cut, without a line that the cut may divide."""
    end = last.find(b"\n", 0, EDGE_BYTES)
    return last[end + 1 :] if end >= 0 else last[EDGE_BYTES:]
