"""Jobs inside the service, over a real Redis and bucket: what the routes, the page and the benchmarks build upon."""

import json

import pytest

from tasks.bucket.layout import attempt_prefix, job_json_key
from tasks.errors import (
    Conflict,
    InvalidRequest,
    MalformedRequest,
    NotFound,
    StorageUnavailable,
    TooLarge,
    UnknownModel,
)
from tasks.ids import new_id
from tasks.job import Fixed, Job
from tasks.ledger import Ledger, Worker, keys
from tasks.request import FREE_MAX_BYTES, parse, plain, pointer
from tasks.service.jobs import Jobs


@pytest.fixture
def jobs(settings, storage, ledger) -> Jobs:
    return Jobs.of(settings)


def request(**changes):
    return parse(json.dumps({"kind": "generate", "input": {"prompt": "Once"}, **changes}))


class TestRequest:
    def test_input_and_params_are_the_kinds_own_models(self):
        """One pass reads, checks and fills; what the caller gave can be told from what was filled in."""
        parsed = request(params={"seed": 4})
        assert (parsed.input.prompt, parsed.params.seed, parsed.params.max_tokens) == ("Once", 4, 128)
        assert plain(parsed) == {"kind": "generate", "input": {"prompt": "Once"}, "params": {"seed": 4}}

    def test_pointers_are_escaped_as_rfc_6901_says(self):
        assert pointer("input", "a/b", 0, "m~n") == "/input/a~1b/0/m~0n"

    def test_of_a_text_given_wrongly_only_the_way_that_was_chosen_is_told(self):
        """Not also that the object is no string."""
        with pytest.raises(InvalidRequest) as raised:
            request(input={"prompt": {"url": "file:///etc/passwd"}})
        assert [error["pointer"] for error in raised.value.errors] == ["/input/prompt/url"]

    def test_at_most_twenty_errors_are_told(self):
        with pytest.raises(InvalidRequest) as raised:
            request(**{f"x{number}": 1 for number in range(50)})
        assert len(raised.value.errors) == 20

    def test_params_and_metadata_share_one_limit(self):
        """Up to the limit and not a byte more."""
        room = FREE_MAX_BYTES - len('{"a": ""}') - len("{}")
        assert request(metadata={"a": "x" * room})
        with pytest.raises(TooLarge, match="65,536"):
            request(metadata={"a": "x" * (room + 1)})

    def test_the_limit_is_on_what_is_kept_not_on_what_came(self):
        """A short body may become long: `9e15` is kept as 9000000000000000.0."""
        head, number = b'{"kind": "generate", "input": {"prompt": "x"}, "metadata": {"n": [', b"9e15,"
        fits = (FREE_MAX_BYTES - 100) // len("9000000000000000.0, ")
        assert parse(head + (number * fits)[:-1] + b"]}}")
        body = head + (number * (fits + 10))[:-1] + b"]}}"
        with pytest.raises(TooLarge, match="65,536"):
            parse(body)
        assert len(body) < FREE_MAX_BYTES / 3

    def test_a_number_beyond_all_digits_is_refused(self):
        with pytest.raises(MalformedRequest):
            parse(b'{"kind": "generate", "input": {"prompt": "x"}, "metadata": {"n": ' + b"9" * 5000 + b"}}")

    def test_an_unknown_kind_is_told_what_there_is(self):
        with pytest.raises(UnknownModel, match="transcribe"):
            request(kind="dance")


class TestEndedBeforeARestore:
    """Redis was restored from the journal: ended jobs are in the bucket alone."""

    @pytest.fixture
    def ended(self, jobs: Jobs, ledger: Ledger, storage) -> Job:
        job = jobs.submit("acme", request()).job
        worker = Worker("w1", "gpu", ["gpu.generate"], ["gpu.generate:transformer"])
        claimed = ledger.claim(worker, "w1:0", "1" * 32)
        key = attempt_prefix("acme", job.id, 1, claimed.token) + "text.txt"
        storage.put_bytes(key, b"the end", "text/plain")
        ledger.commit(
            job.id,
            claimed.token,
            {"text": "the end"},
            [{"name": "text.txt", "media_type": "text/plain", "bytes": 7, "sha256": "0" * 64, "key": key}],
            {},
        )
        seen = jobs.get("acme", job.id)
        storage.put_bytes(job_json_key("acme", job.id), seen.model_dump_json().encode(), "application/json")
        ledger.redis.flushdb()
        ledger.set_epoch()
        return seen

    def test_it_is_reachable_by_its_id_with_its_outputs(self, jobs, ended):
        assert jobs.get("acme", ended.id) == ended
        assert f"/{ended.id}/1-11111111/text.txt?" in jobs.output_link("acme", ended.id, "text.txt")
        with pytest.raises(NotFound):
            jobs.output_link("acme", ended.id, "job.json")

    def test_it_is_its_tenants_alone(self, jobs, ended):
        for ask in (jobs.get, jobs.delete, jobs.retry):
            with pytest.raises(NotFound):
                ask("rival", ended.id)

    def test_it_can_be_erased_but_not_done_again(self, jobs, ended, ledger):
        with pytest.raises(Conflict, match="submit it anew"):
            jobs.retry("acme", ended.id)
        jobs.delete("acme", ended.id)
        with pytest.raises(NotFound):
            jobs.get("acme", ended.id)
        assert ledger.redis.zcard(keys.TRASH) == 1

    def test_one_that_never_was_is_not_found(self, jobs):
        with pytest.raises(NotFound):
            jobs.get("acme", new_id("job"))


def test_a_retry_keeps_within_the_models_limits(jobs, ledger, settings, tmp_path):
    """An operator lowered the limit since; the old job's longer time is cut to it."""
    job = jobs.submit("acme", request()).job
    jobs.cancel("acme", job.id)
    models = tmp_path / "models.toml"
    models.write_text(
        '[[model]]\nkind = "generate"\nname = "transformer"\nalgorithm = "transformer"\ndefault = true\n'
        'pool = "cpu"\nrun_timeout_s = 7\n'
    )
    later = Jobs.of(settings.model_copy(update={"models": models}))
    again = Fixed.model_validate_json(ledger.record(later.retry("acme", job.id).job.id)["fixed"])
    assert (again.run_timeout_s, again.pool, again.retry_of) == (7, "cpu", job.id)


def test_jobs_of_one_millisecond_are_all_listed(jobs, ledger):
    """A cursor that falls among equals skips none and repeats none."""
    made = [jobs.submit("acme", request()).job.id for _ in range(5)]
    ledger.redis.zadd(keys.tenant_jobs("acme"), dict.fromkeys(made, 1000.0))
    seen, cursor = [], None
    for _ in range(10):
        page = jobs.list("acme", limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(made, reverse=True)


def test_a_stored_input_that_is_gone_at_once_is_storage_unavailable(jobs, storage, monkeypatch):
    """The bucket took it; before its ETag was read somebody deleted it. No job is made of it."""
    put = jobs.storage.put_stream

    def put_and_lose(key, *rest) -> None:
        put(key, *rest)
        storage.delete(key)

    monkeypatch.setattr(jobs.storage, "put_stream", put_and_lose)
    with pytest.raises(StorageUnavailable, match="has it no more"):
        jobs.submit("acme", request(input={"prompt": "x" * 40_000}))
    assert jobs.list("acme").jobs == []
