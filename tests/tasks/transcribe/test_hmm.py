"""The words of real recordings, and every answer that is no transcript."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tasks.algorithm import Call, Result, load
from tasks.errors import Canceled, InvalidInput, UnsupportedMedia
from tests.tasks.transcribe.test_audio import FORMATS, SAMPLES, decode, encode
from tests.tasks.transcribe.test_files import read


@pytest.fixture(scope="module")
def hmm():
    return load("transcribe", "hmm")


@pytest.fixture(scope="module")
def phrase() -> np.ndarray:
    """'Of course he could not': 1.5 s out of the reading."""
    return decode(SAMPLES / "reading_female.opus")[int(4.6 * 16_000) : int(6.1 * 16_000)]


@pytest.fixture(scope="module")
def reading(hmm) -> tuple[Call, Result]:
    """The whole reading, transcribed."""
    call = Call.of("transcribe", audio=str(SAMPLES / "reading_female.opus"))
    return call, hmm.run([call])[0]


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def error_rate(said: str, heard: str) -> float:
    """Word error rate: the edits that make `heard` of `said`, by words said (Levenshtein)."""
    said, heard = words(said), words(heard)
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1] / len(said)


def test_the_measure_itself():
    """One word of four wrong is a quarter; one too many counts as well."""
    assert error_rate("a mere woman, however", "a mere women however") == 0.25
    assert error_rate("One two", "one and two") == 0.5


def test_a_reading_is_understood(reading):
    """Clear speech: fewer than 15 words of 100 are wrong."""
    _, result = reading
    assert error_rate((SAMPLES / "reading_female.txt").read_text(), result.value["text"]) < 0.15


def test_the_result_and_the_files_agree(reading):
    """The same words in the result and all four files; times rise and stay within the recording."""
    call, result = reading
    assert [path.name for path in result.files] == [f"transcript.{end}" for end in ("json", "txt", "srt", "vtt")]
    told = json.loads((call.workdir / "transcript.json").read_text())
    said = [word for segment in told["segments"] for word in segment["words"]]
    assert told["text"] == result.value["text"] == " ".join(word["text"] for word in said)
    for ending in ("srt", "vtt"):
        shown = read((call.workdir / f"transcript.{ending}").read_text())
        assert " ".join(" ".join(lines) for _, _, lines in shown) == told["text"]
    assert all(0 <= word["start"] < word["end"] <= told["duration_s"] for word in said)
    assert all(one["end"] <= other["start"] + 1e-6 for one, other in zip(said, said[1:], strict=False))
    assert 0.5 < result.value["confidence"] <= 1 and result.value["warnings"] == []
    assert result.value["duration_s"] == pytest.approx(12.26, abs=0.1)


def test_fillers_and_variants_are_no_words(reading):
    """The dictionary's <sil>, [NOISE] and 'a(2)' do not reach a reader."""
    assert not re.search(r"[<>\[\]()+]", reading[1].value["text"])


def test_words_do_not_depend_on_the_container(hmm, phrase, tmp_path):
    """Whatever the codec, at most one word in five is heard differently."""
    results = dict(
        zip(
            FORMATS,
            hmm.run([Call.of("transcribe", audio=str(encode(phrase, tmp_path, ending))) for ending in FORMATS]),
            strict=True,
        )
    )
    first = results["flac"].value["text"]
    assert error_rate("of course he could not", first) < 0.3
    for ending, result in results.items():
        assert error_rate(first, result.value["text"]) <= 0.2, ending


def test_words_do_not_depend_on_what_came_before(hmm, phrase, tmp_path):
    """One decoder serves all jobs, and keeps nothing of the last."""
    path = str(encode(phrase, tmp_path, "flac"))
    (tmp_path / "soft").mkdir()
    soft = str(encode(decode(SAMPLES / "jfk_1961.opus")[:40_000] // 4, tmp_path / "soft", "flac"))
    one, _, again = hmm.run([Call.of("transcribe", audio=source) for source in (path, soft, path)])
    assert one.value == again.value
    assert one.value["text"]


def test_silence_is_an_empty_transcript(hmm, tmp_path):
    """Nothing said is an answer, not a failure."""
    call = Call.of("transcribe", audio=str(encode(np.zeros(48_000, np.int16), tmp_path, "wav")))
    (result,) = hmm.run([call])
    assert (result.value["text"], result.value["duration_s"], result.value["confidence"]) == ("", 3.0, None)
    assert [warning["code"] for warning in result.value["warnings"]] == ["no_speech"]
    assert json.loads((call.workdir / "transcript.json").read_text())["segments"] == []


def test_progress_counts_segments(hmm, tmp_path):
    """A person sees which segment of how many is being recognised, and what was said so far."""
    sound = decode(SAMPLES / "reading_male.opus")[: 7 * 16_000]
    call, seen, texts = Call.of("transcribe", audio=str(encode(sound, tmp_path, "flac"))), [], []
    told = Call(call.inputs, call.params, call.workdir, lambda *report: seen.append(report), so_far=texts.append)
    (result,) = hmm.run([told])
    assert len(texts) == 2 and texts[1] == result.value["text"] and texts[1].startswith(texts[0]) and texts[0]
    assert [message for _, message in seen] == ["segment 1 of 2", "segment 2 of 2", "2 segments"]
    progress = [share for share, _ in seen]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)


def test_a_canceled_call_stops_between_segments(hmm):
    """The second segment of the reading is never begun, and no file is left behind."""
    made, seen = Call.of("transcribe", audio=str(SAMPLES / "reading_female.opus")), []
    call = Call(made.inputs, made.params, made.workdir, lambda *report: seen.append(report), lambda: len(seen) > 0)
    (error,) = hmm.run([call])
    assert isinstance(error, Canceled)
    assert len(seen) == 1
    assert list(made.workdir.iterdir()) == []


def test_another_language_is_refused(hmm):
    """The answer says which language there is."""
    (error,) = hmm.run([Call.of("transcribe", {"language": "de"}, audio=str(SAMPLES / "jfk_1961.opus"))])
    assert isinstance(error, InvalidInput)
    assert "'en'" in error.detail and "'de'" in error.detail


def test_a_bad_file_spoils_only_its_own_call(hmm, tmp_path):
    """Errors stand in their place; the other calls are answered."""
    (tmp_path / "letter.mp3").write_text("Dear all, " * 100)
    quiet = str(encode(np.zeros(16_000, np.int16), tmp_path, "wav"))
    bad, good = hmm.run([Call.of("transcribe", audio=str(tmp_path / "letter.mp3")), Call.of("transcribe", audio=quiet)])
    assert isinstance(bad, UnsupportedMedia)
    assert isinstance(good, Result)


def test_every_sample_says_where_it_comes_from():
    """A sample that is shipped has its text beside it and its licence in SOURCES.txt."""
    sources = (SAMPLES / "SOURCES.txt").read_text()
    recordings = sorted(path.stem for path in Path(SAMPLES).glob("*.opus"))
    assert recordings
    assert all(name in sources and (SAMPLES / f"{name}.txt").exists() for name in recordings)
