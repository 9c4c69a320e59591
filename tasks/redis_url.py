"""Parses BACKLOT_REDIS_URL once, for redis-py (the ledger) and for kombu (Celery's doorbells) alike.

    redis://[user:password@]host[:port][/db]                    TCP; rediss:// the same over TLS
    unix://[user:password@]/path/to/socket[?db=N]               a Unix socket
    sentinel://[user:password@]host[:port][,host...]/name[/db]  the primary of that name; sentinels:// over TLS

Each library parses URLs in its own way and silently drops what it does not know: the ledger would use one database
and the doorbells another. So any form not listed here is refused. This file makes no connection.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import redis
from redis.credentials import CredentialProvider
from redis.sentinel import Sentinel

PORT, SENTINEL_PORT = 6379, 26379
SENTINELS = ("sentinel", "sentinels")
SCHEMES = ("redis", "rediss", "unix", *SENTINELS)
TLS = ("rediss", "sentinels")
CERTIFICATES = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
TLS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
Host = tuple[str, int]


class PasswordFile(CredentialProvider):
    """The user's password from a file, read at each connect, so that it can be rotated without a restart."""

    def __init__(self, user: str | None, path: Path) -> None:
        self._user, self._path = user, path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Reads the file. Errors: redis.AuthenticationError where it cannot be read."""
        try:
            password = self._path.read_text().strip()
        except (OSError, ValueError) as error:
            raise redis.AuthenticationError(f"BACKLOT_REDIS_PASSWORD_FILE: {error}") from error
        return (self._user, password) if self._user else (password,)


@dataclass(frozen=True)
class RedisUrl:
    """Address and login of Redis. `name`: the primary, where `hosts` are sentinels. `path`: the Unix socket."""

    scheme: str
    hosts: tuple[Host, ...] = ()
    path: str = ""
    name: str = ""
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    password_file: Path | None = None

    @classmethod
    def parse(cls, text: str, password_file: Path | None = None) -> "RedisUrl":
        """Parses the URL. Errors: ValueError with the fault; it never shows the password."""
        scheme, colon, _ = text.partition("://")
        if not colon or scheme not in SCHEMES:
            raise ValueError(f"a Redis URL begins with {', '.join(f'{known}://' for known in SCHEMES)}")
        parts = urlsplit(text)
        if parts.fragment:
            raise ValueError("a Redis URL has no part behind #; write # within a password as %23")
        query = _query(scheme, parts.query)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        found: dict[str, Any] = {
            "user": unquote(user) or None,
            "password": unquote(password) or None,
            "password_file": password_file,
        }
        db = query.pop("db", None)
        if scheme == "unix":
            if hosts or not parts.path.strip("/"):
                raise ValueError(
                    "a socket is named by its whole path: unix:///path/to/socket, or "
                    "unix://user:password@/path/to/socket"
                )
            return cls(scheme, path=unquote(parts.path), db=_db(db or "0"), options=query, **found)
        steps = [unquote(step) for step in parts.path.split("/") if step]
        name = _name(steps) if scheme in SENTINELS else ""
        if db is not None and steps:
            raise ValueError("the database is named twice, in the path and as ?db=")
        if len(steps) > 1:
            raise ValueError(f"{parts.path} is more than a database; it is a number, as in redis://host:6379/0")
        port = SENTINEL_PORT if scheme in SENTINELS else PORT
        named = tuple(_host(one, port) for one in hosts.split(","))
        if len(named) > 1 and scheme not in SENTINELS:
            raise ValueError("several hosts are for sentinel:// alone; Redis' cluster mode is not used")
        return cls(scheme, named, name=name, db=_db(db or (steps[0] if steps else "0")), options=query, **found)

    def client(self, **timeouts: Any) -> redis.Redis:
        """A client of redis-py with these arguments; connects at its first call."""
        common = {"db": self.db, **self._login(), **timeouts}
        if self.scheme == "unix":
            return redis.Redis(unix_socket_path=self.path, **common)
        if self.scheme in SENTINELS:
            # redis-py asks the sentinels again where it takes a connection from a pool, and nowhere else
            common.pop("single_connection_client", None)
            shared = {name: value for name, value in timeouts.items() if name.startswith("socket_")}
            manager: Any = Sentinel(  # type: ignore[no-untyped-call]  # redis-py gives its sentinels no types
                self.hosts, sentinel_kwargs={**shared, **self._sentinel_login(), **self._tls()}, **self._tls()
            )
            client: redis.Redis = manager.master_for(self.name, **common)
            return client
        host, port = self.hosts[0]
        return redis.Redis(host=host, port=port, **self._tls(), **common)

    def for_kombu(self) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
        """Arguments for kombu: a URL, transport options, and TLS options or None."""
        login = f"{quote(self.user or '', safe='')}:{quote(self.password or '', safe='')}@" if self._has_login else ""
        if self.scheme == "unix":
            query = urlencode({"virtual_host": self.db})
            return f"redis+socket://{login}{quote(self.path)}?{query}", {}, None
        hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts]
        if self.scheme in SENTINELS:
            url = ";".join(f"sentinel://{login}{host}/{self.db}" for host in hosts)
            options = {"master_name": self.name, "sentinel_kwargs": {**self._sentinel_login(), **self._tls()}}
            return url, options, self._kombu_tls()
        return f"{self.scheme}://{login}{hosts[0]}/{self.db}", {}, self._kombu_tls()

    @property
    def credentials(self) -> CredentialProvider | None:
        """The provider that reads the password file at each connect; None where no file is set."""
        return PasswordFile(self.user, self.password_file) if self.password_file else None

    @property
    def _has_login(self) -> bool:
        return not self.password_file and bool(self.user or self.password)

    def _login(self) -> dict[str, Any]:
        if self.password_file:
            return {"credential_provider": self.credentials}
        return {"username": self.user, "password": self.password}

    def _sentinel_login(self) -> dict[str, str]:
        names = {"sentinel_username": "username", "sentinel_password": "password"}
        return {names[name]: self.options[name] for name in names if name in self.options}

    def _tls(self) -> dict[str, Any]:
        if self.scheme not in TLS:
            return {}
        return {"ssl": True, **{name: value for name, value in self.options.items() if name in TLS_OPTIONS}}

    def _kombu_tls(self) -> dict[str, Any] | None:
        """TLS options for kombu, never an empty dict: kombu uses plain TCP with one."""
        given = {name: value for name, value in self._tls().items() if name != "ssl"}
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **given} if self.scheme in TLS else None


def _query(scheme: str, text: str) -> dict[str, Any]:
    known = {"db"} | (TLS_OPTIONS if scheme in TLS else set()) | (SENTINEL_OPTIONS if scheme in SENTINELS else set())
    pairs = parse_qsl(text, keep_blank_values=True)
    query: dict[str, Any] = dict(pairs)
    foreign = sorted(set(query) - known)
    if foreign:
        raise ValueError(
            f"{foreign[0]!r} is no option of a {scheme}:// URL here; there are {', '.join(sorted(known))} "
            "(timeouts are set by Backlot)"
        )
    if len(pairs) > len(query):
        raise ValueError("an option of a Redis URL is given once")
    if "ssl_cert_reqs" in query:
        if query["ssl_cert_reqs"] not in CERTIFICATES:
            raise ValueError(f"ssl_cert_reqs is one of {', '.join(CERTIFICATES)}")
        query["ssl_cert_reqs"] = CERTIFICATES[query["ssl_cert_reqs"]]
    if "ssl_check_hostname" in query:
        if query["ssl_check_hostname"] not in ("true", "false"):
            raise ValueError("ssl_check_hostname is true or false")
        query["ssl_check_hostname"] = query["ssl_check_hostname"] == "true"
    return query


def _host(text: str, port: int) -> Host:
    try:
        parts = SplitResult("redis", text, "", "", "")
        host, port = parts.hostname, parts.port or port
    except ValueError as error:
        raise ValueError("the port of a Redis URL is a number up to 65535") from error
    if not host:
        raise ValueError("a Redis URL names a host, as in redis://127.0.0.1:6379/0")
    return host, port


def _name(steps: list[str]) -> str:
    if not steps:
        raise ValueError("sentinel:// names the primary behind its hosts: sentinel://host:26379/mymaster/0")
    return steps.pop(0)


def _db(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"the database {text[:20]!r} is not a number; it is one, as in redis://host:6379/0")
    return int(text)
