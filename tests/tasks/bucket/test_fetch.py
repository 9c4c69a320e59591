"""Sources become files: against a real S3 server and real web servers on the loopback."""

import gzip
import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest

from tasks.bucket.fetch import check_allowed, fetch, tls
from tasks.bucket.storage import Storage
from tasks.errors import InputUnreachable, InvalidInput, TooLarge
from tasks.job import Upload
from tests.stack import free_port
from tests.web import serve

UPLOAD_ID = "upload_" + "0" * 26


@pytest.fixture
def get(settings, tmp_path):
    """get(source) fetches with limits of a test: 1000 bytes; the file's content."""

    def get(source, max_bytes=1000, uploads=None, **changes):
        target, told = tmp_path / "input", settings.model_copy(update=changes)
        sha256 = fetch(
            source,
            target,
            tenant="acme",
            max_bytes=max_bytes,
            settings=told,
            storage=Storage(told),
            uploads=uploads or {},
        )
        assert sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        return target.read_bytes()

    return get


# -- the web


def test_a_page_is_fetched_whole(web, get):
    assert get(web.gives("/a.bin", b"\x00\xff" * 500)) == b"\x00\xff" * 500
    assert get(web.gives("/empty", b"")) == b""


def test_the_request_names_the_host_and_the_query(web, get):
    get(web.gives("/a", b"x") + "?sig=1%2B1#part")
    path, headers = web.seen[0]
    assert path == "/a?sig=1%2B1"
    assert headers["Host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web, get, status):
    web.gives("/new", b"moved")
    assert get(web.gives("/old", status=status, location="/new")) == b"moved"


def test_five_redirects_are_followed_and_no_more(web, get):
    web.gives("/0", b"end")
    for n in range(1, 7):
        web.gives(f"/{n}", status=302, location=f"{web.url}/{n - 1}")
    assert get(web.url + "/5") == b"end"
    with pytest.raises(InputUnreachable, match="more than 5 times") as caught:
        get(web.url + "/6?secret=1")
    assert not caught.value.retryable and "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://10.0.0.1/", "private"),
        ("https://169.254.169.254/latest/meta-data", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("http://example.com/", "only https"),
        ("file:///a", "not accepted"),
        ("s3://bucket/key", "nowhere on the web"),
        ("https://user:pass@example.com/", "password"),
        ("", "nowhere"),
    ],
)
def test_a_redirect_is_judged_as_the_source_itself(web, get, location, why):
    """An open door that leads to a private address is no way in."""
    with pytest.raises(InvalidInput, match=why) as caught:
        get(web.gives("/a", status=302, location=location) + "?secret=1")
    assert "redirects to where" in caught.value.detail and "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (410, False),
        (204, False),
        (206, False),
        (304, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (504, True),
    ],
)
def test_a_status_says_whether_to_try_again(web, get, status, retryable):
    with pytest.raises(InputUnreachable) as caught:
        get(web.gives("/a", status=status) + "?secret=1")
    assert caught.value.retryable == retryable
    assert caught.value.detail == f"{web.url}/a answered {status}"


def test_a_declared_size_over_the_limit_is_refused_before_a_byte_is_read(web, get, tmp_path):
    """The limit stands in the text; the server says 10 GB and sends nothing."""
    with pytest.raises(TooLarge, match="more than the 1000 bytes"):
        get(web.gives("/a", content_length="10000000000"))
    assert not (tmp_path / "input").exists()


def test_an_undeclared_size_over_the_limit_is_refused_as_it_is_reached(web, get, tmp_path):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(bytes(100))
        except OSError:
            pass

    with pytest.raises(TooLarge, match="1000 bytes"):
        get(web.does("/endless", endless))
    assert (tmp_path / "input").stat().st_size <= 1000


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(web, get):
    body = gzip.compress(bytes(1_000_000))
    with pytest.raises(TooLarge):
        get(web.gives("/bomb", body, content_encoding="gzip"), max_bytes=100_000)


def test_a_packed_body_is_unpacked(web, get):
    assert get(web.gives("/a", gzip.compress(b"plain"), content_encoding="gzip")) == b"plain"


def test_a_body_shorter_than_declared_is_not_taken_for_whole(web, get):
    with pytest.raises(InputUnreachable, match="could not be read") as caught:
        get(web.gives("/short", b"half", content_length="8"))
    assert caught.value.retryable


def test_garbage_instead_of_http_is_unreachable(web, get):
    with pytest.raises(InputUnreachable):
        get(web.does("/a", lambda request: request.wfile.write(b"SSH-2.0-OpenSSH\r\n")))


def test_a_closed_port_is_unreachable_and_may_recover(get):
    with pytest.raises(InputUnreachable) as caught:
        get(f"http://127.0.0.1:{free_port()}/a?secret=1")
    assert caught.value.retryable and "secret" not in caught.value.detail


# -- hosts and addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "100.64.0.1",
        "224.0.0.1",
        "[ff02::1]",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "１２７.0.0.1",
        "①27.0.0.1",
    ],
)
def test_a_private_address_is_refused_however_it_is_written(settings, get, host):
    """At submit and at fetch, and the text says what an operator may do."""
    strict = settings.model_copy(update={"fetch_allow": []})
    with pytest.raises(InvalidInput, match="BACKLOT_FETCH_ALLOW"):
        check_allowed(f"https://{host}/a", "acme", strict)
    with pytest.raises(InvalidInput, match="BACKLOT_FETCH_ALLOW"):
        get(f"https://{host}/a", fetch_allow=[])


@pytest.mark.parametrize(
    "source",
    [
        "https://example.com/a?b=c",
        "https://8.8.8.8/a",
        "https://[2606:4700::1111]:8443/a",
        "https://1.1.1.1.example.com/",
        f"upload:{UPLOAD_ID}",
    ],
)
def test_what_is_public_may_be_named(settings, source):
    check_allowed(source, "acme", settings.model_copy(update={"fetch_allow": []}))


@pytest.mark.parametrize(
    ("allow", "source"),
    [
        (["10.0.0.0/8"], "https://10.1.2.3/a"),
        (["10.0.0.0/8"], "http://10.1.2.3/a"),
        (["127.0.0.1"], "http://localhost:9000/a"),
        (["127.0.0.1"], "http://0x7f000001/a"),
        (["nas.lan"], "http://nas.lan/a"),
        (["NAS.lan"], "http://nas.LAN/a"),
        (["::1"], "http://[::1]/a"),
        (["192.168.0.0/16"], "http://[::ffff:192.168.1.1]/a"),
    ],
)
def test_the_operator_may_allow_hosts_and_networks(settings, allow, source):
    check_allowed(source, "acme", settings.model_copy(update={"fetch_allow": allow}))


@pytest.mark.parametrize("source", ["http://example.com/a", "http://8.8.8.8/a", "http://10.1.2.3/a"])
def test_plain_http_is_for_allowed_hosts_only(settings, source):
    with pytest.raises(InvalidInput, match="BACKLOT_FETCH_ALLOW"):
        check_allowed(source, "acme", settings)


@pytest.mark.parametrize(
    "source",
    [
        "ftp://example.com/a",
        "file:///etc/passwd",
        "/etc/passwd",
        "gopher://x/",
        "data:,x",
        "https://",
        "https://u:p@example.com/",
        "https://example.com:99999/",
        "upload:7",
    ],
)
def test_what_is_no_source_is_refused(settings, source):
    with pytest.raises(InvalidInput):
        check_allowed(source, "acme", settings)


def test_a_name_that_means_a_private_address_is_refused_at_fetch(get, monkeypatch):
    """The words are fine; what the resolver says of them is not."""
    monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: ["10.0.0.7", "fd00::7"])
    with pytest.raises(InvalidInput, match=r"films\.example is a private address, or a name of one"):
        get("https://films.example/a")


def test_a_name_is_resolved_once_and_the_address_pinned(web, get, monkeypatch):
    """A resolver that says something harmless first and something private after is asked but once a hop."""
    answers = iter([["127.0.0.1"]])
    monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: next(answers))
    web.gives("/a", b"x")
    url = f"http://films.example:{web.port}/a"
    assert get(url, fetch_allow=["films.example"]) == b"x"
    assert web.seen[0][1]["Host"] == f"films.example:{web.port}"


def test_each_redirect_is_resolved_and_judged_anew(web, get, monkeypatch):
    """The second answer is private and not allowed: refused, though the first was."""
    known = {"films.example": ["127.0.0.1"], "trap.example": ["10.0.0.7"]}
    monkeypatch.setattr("tasks.bucket.fetch.resolve", known.__getitem__)
    web.gives("/a", status=302, location="https://trap.example/b")
    with pytest.raises(InvalidInput, match=r"trap\.example is a private address"):
        get(f"http://films.example:{web.port}/a", fetch_allow=["films.example"])


def test_of_several_addresses_an_allowed_one_is_taken(web, get, monkeypatch):
    monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: ["10.0.0.7", "127.0.0.1"])
    web.gives("/a", b"x")
    assert get(f"http://127.0.0.1.:{web.port}/a") == b"x"


def test_a_name_that_nobody_knows_may_yet_be_known(get, monkeypatch):
    def nobody(host):
        raise OSError("Name or service not known")

    monkeypatch.setattr("tasks.bucket.fetch.resolve", nobody)
    with pytest.raises(InputUnreachable, match=r"the host films\.example was not found") as caught:
        get("https://films.example/a?secret=1")
    assert caught.value.retryable


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for films.example alone, its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(pem),
            "-days",
            "2",
            "-subj",
            "/CN=films.example",
            "-addext",
            "subjectAltName=DNS:films.example",
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return pem, context


def test_https_checks_the_name_though_it_connects_to_the_address(certificate, get, monkeypatch):
    """The certificate must be of the name asked for; the connection goes to the pinned address."""
    pem, context = certificate
    tls.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setattr("tasks.bucket.fetch.resolve", lambda host: ["127.0.0.1"])
    with serve(context) as web:
        web.gives("/a", b"sealed")
        assert get(f"https://films.example:{web.port}/a") == b"sealed"
        with pytest.raises(InputUnreachable, match="(?i)certificate"):
            get(f"https://other.example:{web.port}/a")
    tls.cache_clear()


# -- other buckets, and uploads


@pytest.fixture
def elsewhere(settings, storage):
    """Another bucket on the same server, with one object."""
    other = Storage(settings.model_copy(update={"s3_bucket": settings.s3_bucket + "-other"}))
    other.create_bucket()
    other.put_bytes("inbox/a.wav", b"sound", "audio/wav")
    return other.bucket


def test_an_s3_source_is_read_where_the_tenant_may(get, elsewhere):
    assert get(f"s3://{elsewhere}/inbox/a.wav", s3_sources={"acme": [f"{elsewhere}/inbox/"]}) == b"sound"


@pytest.mark.parametrize("sources", [{}, {"other": ["BUCKET/"]}, {"acme": ["BUCKET/outbox/"]}, {"acme": ["BUCKET-2/"]}])
def test_an_s3_source_beyond_what_the_tenant_may_is_refused(get, elsewhere, sources):
    told = {tenant: [p.replace("BUCKET", elsewhere) for p in prefixes] for tenant, prefixes in sources.items()}
    with pytest.raises(InvalidInput, match="BACKLOT_S3_SOURCES"):
        get(f"s3://{elsewhere}/inbox/a.wav", s3_sources=told)


def test_our_own_bucket_is_no_s3_source(get, settings, storage):
    """Not even where a setting says so: it holds every tenant's outputs."""
    storage.put_bytes("tenants/other/a.wav", b"theirs", "audio/wav")
    with pytest.raises(InvalidInput, match="own bucket"):
        get(f"s3://{settings.s3_bucket}/tenants/other/a.wav", s3_sources={"acme": [f"{settings.s3_bucket}/"]})


def test_an_s3_key_cannot_climb_out_of_its_prefix(get, elsewhere):
    with pytest.raises(InvalidInput, match=r"\.\."):
        get(f"s3://{elsewhere}/inbox/../outbox/a", s3_sources={"acme": [f"{elsewhere}/inbox/"]})


def test_an_s3_source_that_is_not_there_or_too_large(get, elsewhere):
    allowed = {"acme": [f"{elsewhere}/"]}
    with pytest.raises(InputUnreachable, match="is not there") as caught:
        get(f"s3://{elsewhere}/inbox/b.wav", s3_sources=allowed)
    assert not caught.value.retryable
    with pytest.raises(TooLarge, match=r"inbox/a\.wav has more than the 4 bytes"):
        get(f"s3://{elsewhere}/inbox/a.wav", max_bytes=4, s3_sources=allowed)


@pytest.fixture
def uploaded(storage):
    """What the submit noted of an upload of this tenant."""
    key = f"tenants/acme/uploads/{UPLOAD_ID}/a.txt"
    storage.put_bytes(key, b"as sent", "text/plain")
    seen = storage.head(key)
    return {UPLOAD_ID: Upload(key=key, bytes=seen.bytes, etag=seen.etag)}


def test_an_upload_is_read_as_the_submit_saw_it(get, uploaded):
    assert get(f"upload:{UPLOAD_ID}", uploads=uploaded) == b"as sent"


@pytest.mark.parametrize("content", [b"changed", b"longer than before"])
def test_an_upload_that_changed_since_the_submit_is_refused(get, storage, uploaded, content):
    storage.put_bytes(uploaded[UPLOAD_ID].key, content, "text/plain")
    with pytest.raises(InvalidInput, match="was changed after the submit"):
        get(f"upload:{UPLOAD_ID}", uploads=uploaded)


def test_an_upload_that_is_gone_or_was_never_named_is_refused(get, storage, uploaded):
    with pytest.raises(InvalidInput, match="without the upload"):
        get(f"upload:{UPLOAD_ID}", uploads={})
    storage.delete_prefix(uploaded[UPLOAD_ID].key)
    with pytest.raises(InvalidInput, match="no longer there"):
        get(f"upload:{UPLOAD_ID}", uploads=uploaded)


def test_an_upload_over_the_limit_is_refused(get, uploaded):
    with pytest.raises(TooLarge, match="6 bytes"):
        get(f"upload:{UPLOAD_ID}", uploads=uploaded, max_bytes=6)


def test_the_target_is_written_anew(tmp_path: Path, get, web):
    """Whatever lay there before, of an earlier try for instance."""
    (tmp_path / "input").write_bytes(b"older and longer")
    assert get(web.gives("/a", b"new")) == b"new"
