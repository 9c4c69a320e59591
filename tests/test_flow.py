"""POST -> worker -> bucket -> GET on the real stack, one job of each kind on its sample input: read this first."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

import tasks
from api import keyfile
from api.client import ApiError, Client
from api.client.usage import usage
from tasks.bucket.layout import ARTEFACTS
from tasks.bucket.storage import Storage
from tasks.ids import now_ms
from tasks.ledger import connect, keys
from tasks.registry import Registry
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until
from tests.tasks.transcribe.sounds import spoken, two_tracks

SAMPLES = Path(tasks.__file__).parent
ENDS_S = 150
# the header of a picture of 10,000 by 10,000 pixels
HUGE_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x27\x10\0\0\x27\x10\x08\2\0\0\0\xb2\xd8\x2e\x7f"


@pytest.fixture(scope="module")
def bucket(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Storage:
    """That of this file's stack; its settings are the stack's."""
    return make_storage(
        make_settings(
            redis_server.for_a_stack(), s3_server, f"flow-{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("flow")
        )
    )


@pytest.fixture(scope="module")
def clients(bucket: Storage, tmp_path_factory) -> Iterator[dict[str, Client]]:
    """API, keeper and a worker of each pool with the models that ship; a client for each of two tenants."""
    settings, folder = bucket.settings, tmp_path_factory.mktemp("logs")
    names = {tenant: keyfile.add(settings.keys_file, tenant) for tenant in ("acme", "rival")}
    stack = Stack(settings, folder)
    with stack.keeper(), stack.worker("cpu"), stack.worker("gpu"), stack.api() as api:
        yield {tenant: Client(api.url, key) for tenant, key in names.items()}


@pytest.fixture
def client(clients: dict[str, Client]) -> Client:
    return clients["acme"]


def test_transcribe_a_recording(client, tmp_path):
    """Nearly all that is said is heard, and the four files can be downloaded."""
    sample = SAMPLES / "transcribe/samples/reading_female.opus"
    job = client.submit("transcribe", {"audio": sample}, wait=ENDS_S)
    assert job["status"] == "succeeded", job["error"]
    texts = sample.with_suffix(".txt").read_text(), job["result"]["text"]
    said, heard = (set(text.lower().split()) for text in texts)
    assert len(said & heard) >= 0.85 * len(said)
    assert {output["name"] for output in job["outputs"]} == {
        "transcript.json",
        "transcript.txt",
        "transcript.srt",
        "transcript.vtt",
    }
    vtt = client.download(job["id"], "transcript.vtt", tmp_path)
    assert vtt.read_text().startswith("WEBVTT")


def test_a_recording_says_what_was_wrong_with_it(client, tmp_path):
    """Of two tracks the default is heard, 4 s late in its file: result, transcript and captions say so."""
    speech = spoken()
    silence = np.zeros_like(speech)
    film = two_tracks(tmp_path / "film.mkv", silence, speech, late=4.0)
    job = client.submit("transcribe", {"audio": film}, model="hmm-words", wait=ENDS_S)
    assert job["status"] == "succeeded", job["error"]
    assert "one two three four five" in job["result"]["text"]
    codes = [warning["code"] for warning in job["result"]["warnings"]]
    assert codes == ["tracks_ignored", "out_of_domain"]  # the voice is none of the six that the model knows
    told = json.loads(client.download(job["id"], "transcript.json", tmp_path).read_text())
    assert told["warnings"] == job["result"]["warnings"]
    assert told["segments"][0]["start"] == pytest.approx(4.0, abs=0.05)
    assert client.download(job["id"], "transcript.srt", tmp_path).read_text().startswith("1\n00:00:03,99")
    other = client.submit("transcribe", {"audio": film}, model="hmm-words", params={"track": 0}, wait=ENDS_S)
    assert other["status"] == "succeeded" and other["result"]["text"] == ""


def test_a_schedule_makes_jobs_that_run(client, bucket):
    """Made over HTTP; its time comes at once; the keeper submits, a worker runs, the job names it."""
    job = {"kind": "generate", "model": "lstm", "input": {"prompt": "Once"}, "params": {"max_tokens": 3}}
    schedule = client.create_schedule("0 0 1 1 *", job, time_zone="Europe/Berlin")
    redis = connect(bucket.settings, read_timeout_s=5)
    redis.hset(keys.schedule("acme", schedule["id"]), "next_ms", now_ms())
    redis.zadd(keys.SCHEDULES, {f"acme/{schedule['id']}": now_ms()})
    made = until(lambda: client.schedule(schedule["id"])["last_run"])
    done = client.wait(made["job"], timeout=ENDS_S)
    assert (done["status"], done["schedule"]) == ("succeeded", schedule["id"])
    client.delete_schedule(schedule["id"])
    assert client.get(done["id"])["status"] == "succeeded"


def test_recommend_from_a_catalogue(client):
    """Titles like Jaws, best first, none of them Jaws."""
    job = client.submit(
        "recommend",
        {"catalogue": SAMPLES / "recommend/samples/films.csv", "history": ["Jaws"]},
        params={"k": 5},
        wait=ENDS_S,
    )
    assert job["status"] == "succeeded", job["error"]
    items = job["result"]["items"]
    assert len(items) == 5 and "Jaws" not in [item["title"] for item in items]
    assert items == sorted(items, key=lambda item: -item["score"])


def test_caption_a_picture(client):
    """A photograph is named, with alternatives in the order of their probability; a picture shows where it looked."""
    job = client.submit("caption", {"image": SAMPLES / "caption/samples/chelsea-cat.png"}, wait=ENDS_S)
    assert job["status"] == "succeeded", job["error"]
    assert (job["model"], job["result"]["caption"], job["result"]["warnings"]) == ("cnn", "a cat", [])
    assert [output["name"] for output in job["outputs"]] == ["caption.json", "classes.png"]
    alternatives = job["result"]["alternatives"]
    assert alternatives[0]["caption"] == job["result"]["caption"]
    assert alternatives == sorted(alternatives, key=lambda a: -a["logprob"])


def test_a_captioner_of_scenes_says_that_a_photograph_is_none(client):
    """A scene is told without a warning, with a picture of where it looked; of a cat the caption carries one."""
    scene, cat = (
        client.submit("caption", {"image": SAMPLES / f"caption/samples/{name}"}, model="self-attention", wait=ENDS_S)
        for name in ("scene-20001.png", "chelsea-cat.png")
    )
    assert (scene["result"]["caption"], scene["result"]["warnings"]) == ("a ferry above a joker", [])
    assert [output["name"] for output in scene["outputs"]] == ["caption.json", "attention.png"]
    assert "out_of_domain" in [one["code"] for one in cat["result"]["warnings"]]


def test_a_photograph_without_its_end_is_captioned_with_a_warning(client, tmp_path):
    """All its pixels are there; the warning stands in the result and in its file."""
    picture = tmp_path / "cut.jpg"
    picture.write_bytes((SAMPLES / "caption/samples/coffee.jpg").read_bytes().removesuffix(b"\xff\xd9"))
    job = client.submit("caption", {"image": picture}, wait=ENDS_S)
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["caption"] == "an espresso"
    assert [one["code"] for one in job["result"]["warnings"]] == ["picture_damaged"]
    assert (
        json.loads(client.download(job["id"], "caption.json", tmp_path).read_text())["warnings"]
        == job["result"]["warnings"]
    )


def test_a_search_cannot_be_asked_of_a_model_that_does_not_search(client):
    """The default captioner has no beams: the refusal names the field and the algorithms that take it."""
    with pytest.raises(ApiError) as refused:
        client.submit("caption", {"image": SAMPLES / "caption/samples/coffee.jpg"}, params={"beams": 3})
    (error,) = refused.value.problem["errors"]
    assert (refused.value.status, error["pointer"]) == (422, "/params/beams") and "cnn-attention" in error["detail"]


def test_generate_a_continuation(client):
    """The same seed gives the same text, on the gpu pool whether or not there is a GPU."""
    asked = {"params": {"max_tokens": 24, "seed": 7}, "wait": ENDS_S}
    one, two = (client.submit("generate", {"prompt": "It was a dark night, and"}, **asked) for _ in range(2))
    assert (one["status"], one["pool"]) == ("succeeded", "gpu"), one["error"]
    assert one["result"] == two["result"]
    assert one["result"]["usage"]["completion_tokens"] == 24


def test_usage_tells_of_each_kind_what_it_has_used(client):
    """Seconds of sound, pictures, tokens and bytes, of jobs that succeed here before or now."""
    sample = SAMPLES / "transcribe/samples/reading_female.opus"
    client.submit("transcribe", {"audio": sample}, wait=ENDS_S)
    client.submit("caption", {"image": SAMPLES / "caption/samples/chelsea-cat.png"}, wait=ENDS_S)
    made = client.submit("generate", {"prompt": "It was a dark night, and"}, params={"max_tokens": 4}, wait=ENDS_S)

    def counted() -> dict[str, dict] | None:
        groups = {one["group"]["kind"]: one for one in client.usage(group_by="kind")["data"]}
        return groups if {"transcribe", "caption", "generate"} <= groups.keys() else None

    groups = until(counted, ENDS_S, "the keeper has counted")
    heard, seen, written = groups["transcribe"], groups["caption"], groups["generate"]
    assert heard["sound_s"] > 5 and heard["bytes_in"] >= sample.stat().st_size and heard["bytes_out"] > 0
    assert seen["pictures"] == seen["jobs"]["succeeded"] >= 1
    assert written["completion_tokens"] >= 4 and written["prompt_tokens"] >= made["result"]["usage"]["prompt_tokens"]
    assert written["run_s"] > 0 and written["sound_s"] == written["pictures"] == 0
    table = CliRunner().invoke(usage, ["--by", "kind"], obj=lambda: client)
    assert [row.split("\t")[0] for row in table.stdout.splitlines()] == sorted(kinds(client))


def kinds(client) -> set[str]:
    return {one["group"]["kind"] for one in client.usage(group_by="kind")["data"]}


@pytest.fixture(scope="module")
def interactions(tmp_path_factory) -> Path:
    """Twelve people who like either Hitchcock's films or Spielberg's."""
    path = tmp_path_factory.mktemp("data") / "interactions.csv"
    liked = (
        ["Vertigo", "Psycho", "The Birds", "Rear Window"],
        ["Jaws", "Jurassic Park", "Minority Report", "Raiders of the Lost Ark"],
    )
    rows = [
        f"{person},{title},{5 - place}"
        for person in range(12)
        for place, title in enumerate(liked[person % 2])
        if (person + place) % 5
    ]
    path.write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    return path


def test_a_chain_transcribes_goes_on_and_embeds(client):
    """Each takes the text of the one before; all three are submitted before the first has ended."""
    heard = client.submit("transcribe", {"audio": SAMPLES / "transcribe/samples/reading_female.opus"})
    told = client.submit("generate", {"prompt": {"url": f"job:{heard['id']}"}}, params={"max_tokens": 12})
    meant = client.submit("generate", {"prompt": {"url": f"job:{told['id']}/text.txt"}}, params={"mode": "embed"})
    jobs = [client.wait(job["id"], ENDS_S) for job in (heard, told, meant)]
    assert [job["status"] for job in jobs] == ["succeeded"] * 3, [job["error"] for job in jobs]
    again = client.submit("generate", {"prompt": jobs[0]["result"]["text"]}, params={"max_tokens": 12}, wait=ENDS_S)
    assert jobs[1]["result"]["text"] == again["result"]["text"]
    assert len(jobs[2]["result"]["embedding"]) > 8
    assert jobs[0]["completed_at"] <= jobs[1]["started_at"] <= jobs[1]["completed_at"] <= jobs[2]["started_at"]


@pytest.mark.parametrize("model", Registry.default().models, ids=lambda model: model.key)
def test_every_model_that_ships_does_a_job(client, interactions, model):
    """One after another in the same two workers, on the kind's sample."""
    films = {"catalogue": SAMPLES / "recommend/samples/films.csv"}
    inputs = {
        "transcribe": {"audio": SAMPLES / "transcribe/samples/reading_female.opus"},
        "recommend": {**films, "history": ["Jaws"]}
        if model.name == "content"
        else {**films, "interactions": interactions, "user": "3"},
        "caption": {"image": SAMPLES / "caption/samples/scene-20000.png"},
        "generate": {"prompt": "Once upon a time"},
    }[model.kind]
    params = {"generate": {"max_tokens": 8}, "recommend": {"k": 3}}.get(model.kind)
    job = client.submit(model.kind, inputs, model=model.name, params=params, wait=ENDS_S)
    assert (job["status"], job["model"]) == ("succeeded", model.name), job["error"]
    assert len(job["attempts"]) == 1
    assert job["outputs"]
    if model.kind == "transcribe":  # a book is read, which `hmm` alone was made for
        codes = [warning["code"] for warning in job["result"]["warnings"]]
        assert codes == ([] if model.name == "hmm" else ["out_of_domain"])


def test_ten_jobs_on_the_same_data_fit_a_model_once(client, bucket, interactions):
    """What the first one fitted lies in the bucket, for the others and for tomorrow."""
    films = SAMPLES / "recommend/samples/films.csv"
    asked = [
        client.submit(
            "recommend",
            {"catalogue": films, "interactions": interactions, "user": str(person)},
            model="item-knn",
            params={"neighbours": 7},
        )
        for person in range(10)
    ]
    ended = [client.wait(job["id"], ENDS_S) for job in asked]
    assert {job["status"] for job in ended} == {"succeeded"}
    assert len({tuple(item["id"] for item in job["result"]["items"]) for job in ended}) > 1
    kept = [seen for seen in bucket.list(f"{ARTEFACTS}acme/recommend/") if "item-knn" in seen.key]
    assert len(kept) <= 2, "at most this fit, and that of the model's own job above"


def test_the_same_work_is_done_once(client, tmp_path):
    """Ten at once are one run. A picture whose content is known after its fetch is not captioned again; its outputs go
    with the last job that lists them."""
    story = {"params": {"max_tokens": 40, "seed": 23}, "cache": True}
    asked = [client.submit("generate", {"prompt": "Ten at once"}, **story) for _ in range(10)]
    ended = [client.wait(job["id"], ENDS_S) for job in asked]
    assert {job["status"] for job in ended} == {"succeeded"}
    assert sum(len(job["attempts"]) for job in ended) == 1
    assert len({job["result"]["text"] for job in ended}) == 1
    picture = SAMPLES / "caption/samples/chelsea-cat.png"
    first, second = (
        client.submit("caption", {"image": client.upload(picture)}, cache=True, wait=ENDS_S) for _ in range(2)
    )
    assert (second["cached_from"], second["result"]) == (first["id"], first["result"])
    assert first["metrics"]["run_s"] is not None and second["metrics"]["run_s"] is None
    client.delete(first["id"])
    assert {path.name for path in client.download_all(second["id"], tmp_path)} == {"caption.json", "classes.png"}
    third = client.submit("caption", {"image": picture}, cache=True)
    assert (third["status"], third["cached_from"]) == ("succeeded", first["id"])


def test_a_job_is_its_tenants_alone(clients):
    """The other's key finds neither the job nor its output, nor may it cancel."""
    job = clients["acme"].submit("generate", {"prompt": "Mine"}, params={"max_tokens": 4}, wait=ENDS_S)
    rival = clients["rival"]
    for ask in (
        lambda: rival.get(job["id"]),
        lambda: rival.cancel(job["id"]),
        lambda: rival.delete(job["id"]),
        lambda: rival.retry(job["id"]),
        lambda: rival.download(job["id"], "text.txt", Path(".")),
    ):
        with pytest.raises(ApiError) as refused:
            ask()
        assert refused.value.status == 404
    assert list(rival.jobs()) == []


def test_a_link_to_an_output_answers_with_its_type(client):
    """307 to a presigned URL, which needs no key and names the file."""
    job = client.submit("generate", {"prompt": "Once"}, params={"max_tokens": 4}, wait=ENDS_S)
    (output,) = job["outputs"]
    redirect = client._sender.http.get(output["url"], follow_redirects=False)
    assert (redirect.status_code, redirect.headers["Cache-Control"]) == (307, "private, no-store")
    file = httpx.get(redirect.headers["Location"], trust_env=False)
    assert file.text == job["result"]["text"]
    assert file.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("kind", "inputs", "code"),
    [
        ("transcribe", {"audio": b"this is no sound"}, "unsupported_media"),
        ("transcribe", {"audio": b""}, "invalid_input"),
        ("caption", {"image": HUGE_PNG}, "too_large"),
        ("caption", {"image": b"GIF89a"}, "invalid_input"),
        ("recommend", {"catalogue": b"\0\1\2\3", "history": ["x"]}, "unsupported_media"),
    ],
)
def test_bad_input_fails_once_and_the_worker_lives(client, tmp_path, kind, inputs, code):
    """A code, a sentence, one attempt; then the same worker does a good job."""
    for name, value in inputs.items():
        if isinstance(value, bytes):
            inputs = {**inputs, name: tmp_path / "input.bin"}
            inputs[name].write_bytes(value)
    try:
        job = client.submit(kind, inputs, wait=ENDS_S)
    except ApiError as refused:
        assert (refused.status, refused.code) in {(422, code), (422, "invalid_input")}
        return
    assert (job["status"], len(job["attempts"])) == ("failed", 1)
    assert job["error"]["code"] in (code, "invalid_input", "unsupported_media")
    assert job["error"]["detail"].endswith((".", ")")) or len(job["error"]["detail"].split()) > 3
    good = client.submit(
        "recommend", {"catalogue": SAMPLES / "recommend/samples/films.csv", "history": ["Jaws"]}, wait=ENDS_S
    )
    assert good["status"] == "succeeded"
