"""No spelling of a private address gets a connection, whoever spells it: a caller, a redirect, a name server."""

import ipaddress
import socket

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.bucket.fetch import check_allowed, fetch
from tasks.bucket.storage import Storage
from tasks.errors import BacklotError, InvalidInput
from tests.web import serve

EXAMPLES = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
FORBIDDEN_4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/29",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
FORBIDDEN_6 = [
    "::/128",
    "::1/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
FULLWIDTH = str.maketrans("0123456789abcdefx.", "０１２３４５６７８９ａｂｃｄｅｆｘ．")


def within(networks: list[str]) -> st.SearchStrategy:
    return st.sampled_from(networks).flatmap(lambda n: st.ip_addresses(network=ipaddress.ip_network(n)))


def part(value: int, base: str) -> str:
    return {
        "decimal": f"{value}",
        "hex": f"0x{value:x}",
        "HEX": f"0X{value:X}",
        "octal": f"0{value:o}",
        "padded": f"0x{value:012x}",
    }[base]


@st.composite
def spelled_4(draw) -> str:
    """In one to four numbers of any base, as inet_aton takes them."""
    address = int(draw(within(FORBIDDEN_4)))
    count = draw(st.integers(1, 4))
    values = [address >> 8 * (3 - n) & 255 for n in range(count - 1)] + [address & (1 << 8 * (5 - count)) - 1]
    bases = st.sampled_from(["decimal", "hex", "HEX", "octal", "padded"])
    return draw(st.sampled_from([".", "。", "．", "｡"])).join(part(value, draw(bases)) for value in values)


@st.composite
def spelled_6(draw) -> str:
    """Short, long or with an IPv4 tail; IPv4 within it by each of the ways there are."""
    old = int(draw(within(FORBIDDEN_4)))
    address = draw(
        st.one_of(
            within(FORBIDDEN_6),
            st.sampled_from(
                [0xFFFF << 32 | old, old, 0x0064FF9B << 96 | old, 0x2002 << 112 | old << 80, 0xFFFF << 48 | old]
            ).map(ipaddress.IPv6Address),
        )
    )
    text = draw(st.sampled_from([address.compressed, address.exploded, address.compressed.upper()]))
    if address.ipv4_mapped:
        text = draw(st.sampled_from([text, f"::ffff:{address.ipv4_mapped}", f"::FFFF:{address.ipv4_mapped}"]))
    return f"[{text}{draw(st.sampled_from(['', '', '%25eth0', '%1']))}]"


@st.composite
def urls(draw) -> str:
    host = draw(st.one_of(spelled_4(), spelled_6(), st.sampled_from(["localhost", "LocalHost", "a.b.localhost"])))
    if not host.startswith("["):
        host = draw(st.sampled_from([host, host + ".", host.translate(FULLWIDTH), host.upper()]))
    scheme, port, rest = (
        draw(st.sampled_from(ways))
        for ways in (
            ["https://", "HTTPS://", "https:\t//"],
            ["", ":443", ":22", ":6379", ":8080"],
            ["", "/", "/a", "?a", "#a"],
        )
    )
    return scheme + host + port + rest


@pytest.fixture
def connections(monkeypatch) -> list:
    """What anybody tried to connect to; nobody may."""
    tried = []

    def refuse(line, address):
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("tasks.bucket.connections._connect", refuse)
    monkeypatch.setattr(socket, "create_connection", lambda address, *_, **__: refuse(None, address))
    return tried


@pytest.fixture
def get(settings, tmp_path):
    """get(url) fetches with nothing allowed."""
    strict = settings.model_copy(update={"fetch_allow": []})

    def get(url: str, **changes) -> str:
        told = strict.model_copy(update=changes)
        return fetch(
            url, tmp_path / "input", tenant="acme", max_bytes=1000, settings=told, storage=Storage(told), uploads={}
        )

    get.settings = strict
    return get


def test_no_spelling_of_a_private_address_is_accepted(get, connections):
    """Refused by its words at submit, refused at fetch, and nothing was ever connected to."""

    @EXAMPLES
    @example("https://127。0。0。1/")
    @example("https://[::ffff:169.254.169.254]/latest/meta-data")
    @example("https://0x7f.1/")
    @given(urls())
    def hold(url):
        with pytest.raises(InvalidInput):
            check_allowed(url, "acme", get.settings)
        with pytest.raises(InvalidInput):
            get(url)

    hold()
    assert connections == []


def test_no_redirect_leads_to_one(get):
    """From a server that may be reached, to each of the spellings: the first request is also the last."""
    with serve() as web:

        @settings(EXAMPLES, max_examples=40)
        @given(urls().filter(lambda url: url.isascii() and "\t" not in url and "localhost" not in url.lower()))
        def hold(url):
            web.seen.clear()
            with pytest.raises(InvalidInput, match="redirects to where"):
                get(web.gives("/a", status=302, location=url), fetch_allow=["127.0.0.1"])
            assert len(web.seen) == 1

        hold()


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://8.8.8.8/a",
        "gopher://8.8.8.8/",
        "data:,a",
        "s3://bucket/key",
        "upload:upload_" + "0" * 26,
        "//10.0.0.1/a",
        "https:10.0.0.1",
        "http://8.8.8.8/a",
        "jar:https://8.8.8.8!/a",
        "unix:/a",
    ],
)
def test_no_redirect_leads_off_the_web(get, web, location):
    """Other schemes, schemes left out, and plain http to where only https is accepted."""
    with pytest.raises(BacklotError):
        get(web.gives("/a", status=302, location=location), fetch_allow=["127.0.0.1"])
    assert [path for path, _ in web.seen] == ["/a"]


def test_no_answer_of_a_name_server_is_trusted(get, connections, monkeypatch):
    """A harmless name that means a forbidden address, alone or among others."""

    @settings(EXAMPLES, max_examples=60)
    @given(st.lists(st.one_of(within(FORBIDDEN_4), within(FORBIDDEN_6)).map(str), min_size=1, max_size=4))
    def hold(addresses):
        monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: addresses)
        with pytest.raises(InvalidInput, match="private address"):
            get("https://films.example/a")

    hold()
    assert connections == []


def test_a_name_that_changes_its_mind_is_asked_once_and_its_first_answer_is_what_is_connected_to(
    get, connections, monkeypatch
):
    """Public when it is checked, private when it is used: the connection goes to the address that was checked."""
    answers = iter([["10.0.0.7", "8.8.8.8", "127.0.0.1"], ["127.0.0.1"]])
    monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: next(answers))
    with pytest.raises(BacklotError, match="could not be read"):
        get("https://films.example:8443/a")
    assert connections == [("8.8.8.8", 8443)]


@pytest.mark.parametrize(
    "url",
    [
        "https://user@8.8.8.8/",
        "https://8.8.8.8@10.0.0.1/",
        "https://8.8.8.8:443@10.0.0.1/",
        "https://8.8.8.8\\@10.0.0.1/",
        "https://@8.8.8.8/",
        "https://8.8.8.8%40@10.0.0.1/",
        "https://8.8.8.8 @10.0.0.1/",
        "https://a\0b/",
        "https://a b/",
        "https://8.8.8.8\u3000/",
        "https://\ud800/",
        "https://8.8.8.8:0/",
        "https://8.8.8.8:99999/",
        "https://8.8.8.8:a/",
        "https://[::1",
        "https:///a",
        "https:",
        "https://:443/",
        "HTTPS://%00/",
        "https://8.8.8.8:-1/",
    ],
    ids=ascii,
)
def test_a_host_that_two_parsers_may_read_differently_is_refused(get, connections, url):
    """User names, backslashes, blanks, NUL, ports that are none."""
    with pytest.raises(BacklotError):
        check_allowed(url, "acme", get.settings)
        get(url)
    assert connections == []
