"""`backlot` as people and scripts meet it: a process of its own, with nobody there, without a key, in a pipe."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version

import httpx
import psutil
import pytest
from click import BadParameter

from api import keyfile
from api.client import Client
from api.client.arguments import Input, Param
from api.client.jobs import _progress_line
from api.client.terminal import INTERRUPTED, PIPE_CLOSED, REFUSED, UNREACHED, USAGE
from tasks.ledger import Ledger
from tests.stack import ROOT, RedisServer, S3Server, Stack, free_port, make_settings, make_storage, until

BACKLOT = [sys.executable, "-m", "api.client.cli"]


@pytest.fixture(scope="module")
def url_and_key(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """An API without workers, and a key for it."""
    folder = tmp_path_factory.mktemp("cli")
    bucket, outputs = f"cli-{uuid.uuid4().hex[:12]}", {"acme": ["theirs/"]}
    settings = make_settings(redis_server.for_a_stack(), s3_server, bucket, folder, s3_outputs=outputs)
    make_storage(settings)
    Ledger(settings).set_epoch()
    key = keyfile.add(settings.keys_file, "acme")
    with Stack(settings, folder).api() as api:
        yield api.url, key


@pytest.fixture
def backlot(url_and_key, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """backlot("list", url=..., key=...) runs the command; None leaves the variable unset."""

    def run(
        *words: str, url: str | None = url_and_key[0], key: str | None = url_and_key[1], stdin: bytes = b"", **env: str
    ) -> subprocess.CompletedProcess:
        given = {"BACKLOT_URL": url, "BACKLOT_API_KEY": key, "PYTHONPATH": str(ROOT), **env}
        return subprocess.run(
            [*BACKLOT, *words],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            timeout=60,
            env={**os.environ, **{name: value for name, value in given.items() if value is not None}},
        )

    return run


def told(done: subprocess.CompletedProcess, status: int) -> str:
    """What a failed command says on standard error; on standard output it says nothing."""
    said = done.stderr.decode()
    assert done.returncode == status and done.stdout == b"" and "Traceback" not in said, (done.returncode, said)
    return said


def test_where_nobody_answers_the_error_names_the_url_and_the_way_out(backlot):
    """Each thing once; how soon is bounded by `FIRST_ANSWER_S`, not by the six tries of a request."""
    url = f"http://127.0.0.1:{free_port()}"
    said = told(backlot("models", url=url), UNREACHED)
    *waiting, last, hint = said.splitlines()
    assert last.startswith(f"unreachable: no answer from {url}: ") and "Connection refused" in last
    assert "make up" in hint and "BACKLOT_URL" in hint
    assert len(waiting) < 5 and all(line.startswith("waiting: ") and url in line for line in waiting)


def test_without_a_key_the_variable_is_named(backlot):
    """Before anything is sent: no server need be there."""
    said = told(backlot("models", url="http://127.0.0.1:9", key=None), USAGE)
    assert "BACKLOT_API_KEY" in said and ". .backlot/env" in said and said.count("\n") == 1


def test_a_key_that_is_refused_is_told_once_with_its_variable(backlot):
    said = told(backlot("models", key="bk_of_yesterday"), REFUSED)
    assert said.startswith("unauthorized: ") and "BACKLOT_API_KEY" in said and said.count("\n") == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost", "ftp://127.0.0.1", "http://[::1"])
def test_what_is_no_url_is_said_to_be_none(backlot, url):
    assert repr(url) in told(backlot("models", url=url), USAGE)


def test_a_server_that_is_not_backlot_is_named_as_such(backlot, s3_server):
    """Its address stands in the line; an S3 server answers XML."""
    said = told(backlot("models", url=s3_server.url), REFUSED)
    assert s3_server.url.removeprefix("http://") in said


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("get", "job_1"),
        ("dead-letters", "list"),
        ("explain", "job_1"),
        ("pause", "pool/gpu"),
        ("resume", "pool/gpu"),
        ("pauses",),
        ("keys", "list", "--last-use"),
        ("tenants", "receipt", "acme"),
    ],
)
def test_the_option_url_holds_for_every_command(backlot, s3_server, tmp_path, words):
    """A caller's and an operator's: the server of `--url` refuses, and the API of BACKLOT_URL is not asked."""
    keyfile.add(tmp_path / ".backlot" / "keys.json", "acme")
    said = told(backlot("--url", s3_server.url, *words, BACKLOT_OPERATOR_KEY="bk_of_an_operator"), REFUSED)
    assert s3_server.url.removeprefix("http://") in said


def test_an_operators_wrong_url_and_wrong_key_are_told_as_a_callers_are(backlot):
    operators = {"BACKLOT_OPERATOR_KEY": "bk_of_yesterday"}
    assert "'localhost'" in told(backlot("--url", "localhost", "pauses", **operators), USAGE)
    assert "BACKLOT_OPERATOR_KEY" in told(backlot("pauses", **operators), REFUSED)


def test_each_error_of_a_field_is_told_once(backlot):
    said = told(backlot("submit", "generate", "prompt=Once", "-p", "speed=1", "-p", "pitch=2"), REFUSED)
    assert said.count("/params/speed") == said.count("/params/pitch") == 1 and said.startswith("invalid_input: ")
    one = told(backlot("submit", "generate", "prompt=Once", "-p", "speed=1"), REFUSED)
    assert one.count("/params/speed") == 1 and one.count("\n") == 1


def test_no_line_is_cut_in_a_pipe(backlot):
    """An error of more than 80 letters is one line; so is a row of a table, with a tab between its fields."""
    (line,) = told(
        backlot("submit", "generate", "prompt=Once", "--model", "m" * 60, COLUMNS="80"), REFUSED
    ).splitlines()
    assert line.startswith("unknown_model: ") and len(line) > 80
    rows = backlot("models").stdout.decode().splitlines()
    assert all(len(row.split("\t")) == 5 for row in rows) and max(map(len, rows)) > 80


def test_the_version_is_told(backlot):
    assert backlot("--version", key=None).stdout.decode() == f"backlot, version {version('backlot')}\n"


def test_a_reader_that_leaves_is_no_error(backlot, url_and_key):
    """`backlot models | head -0`: no traceback, and the status of a program that a broken pipe ends."""
    env = {**os.environ, "BACKLOT_URL": url_and_key[0], "BACKLOT_API_KEY": url_and_key[1]}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*BACKLOT, "models"], env=env, cwd=ROOT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, b"")


def test_a_locale_without_the_letters_is_no_crash(backlot, url_and_key):
    """They are written as escapes."""
    client = Client(*url_and_key)
    job = client.submit("generate", {"prompt": "Über"}, metadata={"title": "Amélie ☃"})
    shown = backlot("get", job["id"], PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert json.loads(shown.stdout)["metadata"] == {"title": "Amélie ☃"}
    said = told(backlot("submit", "☃", "prompt=Once", PYTHONIOENCODING="ascii"), REFUSED)
    assert "\\u2603" in said


def test_a_submit_names_a_webhook_and_a_folder(backlot, url_and_key):
    url, key = url_and_key
    httpx.post(f"{url}/v1/webhooks/secret", headers={"Authorization": f"Bearer {key}"}).raise_for_status()
    options = ("--webhook", "https://a.example/x", "--deliver", "s3://theirs/out/")
    job = json.loads(backlot("submit", "generate", "prompt=Once", *options).stdout)
    assert (job["webhook"]["url"], job["delivery"]["url"]) == ("https://a.example/x", "s3://theirs/out/")
    line = b'{"kind": "generate", "input": {"prompt": "Once"}}'
    batch = json.loads(backlot("batches", "submit", "-", *options[:2], stdin=line).stdout)
    assert batch["webhook"]["url"] == "https://a.example/x"


def test_ctrl_c_says_that_the_job_goes_on(url_and_key):
    """With the status of an interrupted program."""
    url, key = url_and_key
    job = Client(url, key).submit("generate", {"prompt": "Once"})
    waiting = subprocess.Popen(
        [*BACKLOT, "wait", job["id"]],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BACKLOT_URL": url, "BACKLOT_API_KEY": key},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit it ignored
    )
    until(lambda: psutil.Process(waiting.pid).net_connections(), 30, "it asks the API")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == INTERRUPTED and "goes on" in said and job["id"] in said and "Traceback" not in said


def test_standard_input_is_a_file(backlot, url_and_key):
    """`@-`, once; for a text input too. Nothing deprecated reads it: the next major version of click lacks that."""
    strict = {"PYTHONWARNINGS": "error::DeprecationWarning"}
    job = json.loads(backlot("submit", "transcribe", "audio=@-", stdin=b"RIFF1234", **strict).stdout)
    assert job["input"]["audio"].startswith("upload:")
    act = json.loads(backlot("submit", "generate", "prompt=@-", stdin=b"Once upon a time").stdout)
    assert act["input"]["prompt"]["url"].startswith("upload:")
    assert "once" in told(backlot("submit", "recommend", "catalogue=@-", "interactions=@-"), USAGE)


def test_files_that_cannot_be_used_are_named(backlot, tmp_path):
    """A missing file, a folder; texts among files of one input."""
    assert "there is no file nowhere.mp3" in told(backlot("submit", "transcribe", "audio=@nowhere.mp3"), USAGE)
    assert "there is no file ." in told(backlot("submit", "transcribe", "audio=@."), USAGE)
    (tmp_path / "a.mp3").write_bytes(b"x")
    assert "one sort" in told(backlot("submit", "transcribe", "audio=@a.mp3", "audio=https://example.com/b"), USAGE)


def test_a_value_given_twice_is_refused(backlot):
    """The last one does not win without a word."""
    assert "seed" in told(backlot("submit", "generate", "prompt=Once", "-p", "seed=1", "-p", "seed=2"), USAGE)


@pytest.mark.parametrize(
    "text", ['{"a":1}', '["Alien"]', "1984", "null", '{"url": "https://example.com/a"}', "", "a:=b", "x=y"]
)
def test_a_text_is_a_text(text):
    """Whatever it looks like."""
    assert Input().convert(f"prompt={text}", None, None) == ("prompt", text)


def test_a_text_that_looks_like_json_reaches_the_job_as_it_is(backlot):
    job = json.loads(backlot("submit", "generate", 'prompt={"a":1}').stdout)
    assert job["input"] == {"prompt": '{"a":1}'}
    made = json.loads(
        backlot("submit", "recommend", "catalogue=https://example.com/c.csv", 'history:=["Alien"]').stdout
    )
    assert made["input"]["history"] == ["Alien"]


@pytest.mark.parametrize(
    ("word", "value"), [('history:=["Alien", 1]', ["Alien", 1]), ('prompt:="@home"', "@home"), ("users:=[]", [])]
)
def test_json_is_written_with_a_colon(word, value):
    assert Input().convert(word, None, None)[1] == value


@pytest.mark.parametrize(
    "word",
    [
        "history:=[Alien]",
        "history:=NaN",
        "history:=1e999",
        'history:="\\ud800"',
        "history:=" + "[" * 100_000,
        "prompt",
        "=text",
        "prompt=\udcff",
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(word):
    """Before a request is made."""
    with pytest.raises(BadParameter):
        Input().convert(word, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("en", "en"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ('["a"]', ["a"]),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_parameter_is_json_where_it_reads_as_json(text, value):
    assert Param().convert(f"stop={text}", None, None) == ("stop", value)


def test_a_key_is_added_for_the_tenant_named(backlot, tmp_path):
    """The key alone on standard output, the file on standard error."""
    done = backlot("keys", "add", "acme", key=None)
    (key,) = done.stdout.decode().split()
    path = tmp_path / ".backlot" / "keys.json"
    assert [(one.sha256, one.tenant) for one in keyfile.read(path)] == [(keyfile.digest(key), "acme")]
    assert str(path) in done.stderr.decode()


def test_a_wait_shows_the_estimate_where_there_is_one():
    job = {"id": "job_1", "status": "queued", "phase": None, "progress": None, "queue_position": 3, "message": None}
    eta = {"until": "start", "low": 12.4, "likely": 17.0, "high": 25.2}
    assert _progress_line({**job, "eta_s": eta}) == "job_1 queued, place 3, start in 12 to 26 s "
    assert _progress_line({**job, "eta_s": None}) == _progress_line(job) == "job_1 queued, place 3 "
