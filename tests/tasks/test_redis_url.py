"""BACKLOT_REDIS_URL: what redis-py and kombu are told is the same, and what either would leave out is refused."""

import ssl

import pytest
from pydantic import ValidationError

from tasks.redis_url import RedisUrl
from tasks.settings import Settings

TCP = {"host": "redis.example", "port": 6380, "db": 2, "username": "backlot", "password": "p@ss/#1"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://backlot:p%40ss%2F%231@redis.example:6380/2", TCP),
        ("redis://backlot:p%40ss%2F%231@redis.example:6380?db=2", TCP),
        ("redis://redis.example", {"host": "redis.example", "port": 6379, "db": 0, "username": None, "password": None}),
        ("redis://:secret@[::1]:6379/1", {"host": "::1", "port": 6379, "db": 1, "password": "secret"}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        ("unix://backlot:secret@/run/redis.sock?db=3", {"path": "/run/redis.sock", "db": 3, "username": "backlot"}),
    ],
)
def test_redis_py_and_kombu_are_told_the_same(url, told):
    """Server, database and login."""
    parsed = RedisUrl.parse(url)
    ours = parsed.client().connection_pool.connection_kwargs
    theirs = of_kombu(parsed)
    for name, value in told.items():
        assert ours.get(name) == value, name
        assert (theirs.get(name) or None) == (value or None), name


def test_tls_is_spoken_by_both():
    """Certificates are checked unless the URL says otherwise."""
    parsed = RedisUrl.parse("rediss://:secret@redis.example:6380/0?ssl_ca_certs=/etc/ca.pem")
    ours, theirs = parsed.client().connection_pool, of_kombu(parsed)
    assert "SSL" in ours.connection_class.__name__ and ours.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"
    assert "SSL" in theirs["connection_class"].__name__ and theirs["ssl_ca_certs"] == "/etc/ca.pem"
    assert theirs["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    unchecked = of_kombu(RedisUrl.parse("rediss://redis.example?ssl_cert_reqs=none"))
    assert unchecked["ssl_cert_reqs"] == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis://redis.example/0?socket_timeout=5", "'socket_timeout' is no option"),
        ("redis://redis.example/films", "'films' is not a number"),
        ("redis://redis.example/0/1", "more than a database"),
        ("redis://redis.example/1?db=2", "named twice"),
        ("redis://a:1,b:2/0", "several hosts"),
        ("redis:///0", "names a host"),
        ("redis://redis.example:port/0", "port"),
        ("redis.example:6379", "begins with"),
        ("redis+socket:///run/redis.sock", "begins with"),
        ("amqp://redis.example", "begins with"),
        ("", "begins with"),
        ("unix://run/redis.sock", "whole path"),
        ("unix:///", "whole path"),
        ("sentinel://a:26379", "names the primary"),
        ("rediss://a?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("redis://a?ssl_ca_certs=/x", "'ssl_ca_certs' is no option"),
        ("redis://:secret#1@redis.example/0", "%23"),
    ],
)
def test_what_one_of_them_would_leave_out_is_refused(url, wrong):
    with pytest.raises(ValueError, match=wrong):
        RedisUrl.parse(url)


def test_a_process_does_not_start_with_such_a_url_and_shows_no_password(monkeypatch):
    monkeypatch.setenv("BACKLOT_REDIS_URL", "redis://:s3cret@redis.example/0?socket_timeout=5")
    with pytest.raises(ValidationError, match="socket_timeout") as refused:
        Settings()
    assert "s3cret" not in str(refused.value)


def of_kombu(parsed: RedisUrl) -> dict:
    """What kombu's transport gives redis-py."""
    from kombu import Connection

    url, options, tls = parsed.for_kombu()
    channel = Connection(url, transport_options=options, ssl=tls or False).transport.Channel
    connection = Connection(url, transport_options=options, ssl=tls or False)
    bare = channel.__new__(channel)
    bare.connection = type("Transport", (), {"client": connection, "default_port": 6379})()
    return bare._connparams()
