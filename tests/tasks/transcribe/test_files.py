"""transcript.json, .txt, .srt and .vtt: what is written can be read back, and captions behave."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.transcribe.cues import Cue, cues
from tasks.transcribe.transcript import Segment, Transcript, Word, clock, srt, vtt

TALK = Transcript(
    (
        Segment(0.5, 3.0, (Word("but", 0.5, 0.9, 0.5), Word("as", 1.0, 1.5, 0.9), Word("sure", 1.5, 2.9, 0.7))),
        Segment(4.0, 5.0, ()),
        Segment(
            3600.0, 3601.5, (Word("at&t", 3600.1, 3600.5), Word("<b>", 3600.5, 3601.0), Word("-->", 3601.0, 3601.4))
        ),
    ),
    3605.0,
    "en",
    "by hand",
)

TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{3})"


def milliseconds(text: str) -> int:
    hours, minutes, seconds, rest = map(int, re.fullmatch(TIME, text).groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def read(captions: str) -> list[tuple[int, int, list[str]]]:
    """Start, end (ms) and lines of each block that has a time line: SubRip and WebVTT alike."""
    found = []
    for block in captions.split("\n\n"):
        lines = block.strip().split("\n")
        at = next((i for i, line in enumerate(lines) if re.fullmatch(f"{TIME} --> {TIME}", line)), None)
        if at is not None:
            start, end = lines[at].split(" --> ")
            found.append((milliseconds(start), milliseconds(end), lines[at + 1 :]))
    return found


def test_the_four_files_are_written(tmp_path):
    """Their names are the outputs' names."""
    paths = TALK.write(tmp_path)
    assert [path.name for path in paths] == ["transcript.json", "transcript.txt", "transcript.srt", "transcript.vtt"]
    assert (tmp_path / "transcript.txt").read_text() == "but as sure\nat&t <b> -->\n"


def test_json_holds_every_word_with_its_time(tmp_path):
    """Segments without words are left out; the mean confidence is that of the words that have one."""
    TALK.write(tmp_path)
    told = json.loads((tmp_path / "transcript.json").read_text())
    assert (told["language"], told["model"], told["duration_s"]) == ("en", "by hand", 3605.0)
    assert told["text"] == "but as sure at&t <b> -->"
    assert told["confidence"] == pytest.approx(0.7)
    assert [len(segment["words"]) for segment in told["segments"]] == [3, 3]
    assert told["segments"][0]["words"][1] == {"text": "as", "start": 1.0, "end": 1.5, "confidence": 0.9}
    assert told["segments"][1]["confidence"] is None


def test_subrip_reads_back():
    """Numbered from 1, with a comma before the milliseconds."""
    text = srt(cues(TALK.words, TALK.duration_s))
    assert text.startswith("1\n00:00:00,500 --> 00:00:02,900\nbut as sure\n\n2\n01:00:00,100 --> ")
    assert read(text) == [(500, 2900, ["but as sure"]), (3_600_100, 3_601_400, ["at&t <b> -->"])]


def test_a_text_that_reads_like_a_time_line_is_none():
    """SubRip has no escapes; WebVTT's are used."""
    spoken = [Cue(0, 900, ("7", "00:00:01,000 --> 00:00:02,000"))]
    assert read(srt(spoken)) == [(0, 900, ["7", "00:00:01,000 —> 00:00:02,000"])]
    assert read(vtt(spoken)) == [(0, 900, ["7", "00:00:01,000 --&gt; 00:00:02,000"])]


def test_webvtt_reads_back_and_is_escaped():
    """What WebVTT would take for markup or an arrow is written as an entity."""
    text = vtt(cues(TALK.words, TALK.duration_s))
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.900\n")
    assert read(text)[1][2] == ["at&amp;t &lt;b&gt; --&gt;"]


def test_a_transcript_of_silence_is_four_valid_files(tmp_path):
    """Nothing said is no failure."""
    silence = Transcript((), 9.0, "en", "by hand")
    silence.write(tmp_path)
    assert silence.result() == {"text": "", "language": "en", "duration_s": 9.0, "confidence": None, "warnings": []}
    assert (tmp_path / "transcript.srt").read_text() == ""
    assert (tmp_path / "transcript.vtt").read_text() == "WEBVTT\n\n"


@given(st.integers(0, 400 * 3600 * 1000), st.sampled_from(",."))
def test_a_clock_reads_back_to_the_millisecond(ms, point):
    """Also past 99 hours; minutes and seconds stay below 60."""
    text = clock(ms, point)
    assert milliseconds(text) == ms
    assert re.fullmatch(r"\d{2,}:[0-5]\d:[0-5]\d[,.]\d{3}", text)
