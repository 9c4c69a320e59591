"""What was said and when, and the four files that say it: transcript.json, .txt, .srt, .vtt.

Knows nothing of audio or of any recogniser; every transcribing algorithm fills a Transcript.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from tasks.transcribe.cues import Cue, cues

ARROW = re.compile(r"(\d\s*)-->(?=\s*\d)")  # between two numbers: a text that reads like a time line


@dataclass(frozen=True)
class Word:
    """Seconds from the start of the recording; confidence 0-1, None where the model gives none."""

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch between two pauses. Its words lie in it, in order. `fit`: how like what the model learned it is
    (domain.py); None where the model cannot judge it."""

    start: float
    end: float
    words: tuple[Word, ...]
    fit: float | None = None

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Transcript:
    """All of a recording. `segments` in order of time; those without words may be left out. `warnings`: reasons not to
    trust it, as tasks/warning.py makes them."""

    segments: tuple[Segment, ...]
    duration_s: float
    language: str
    model: str
    warnings: tuple[dict[str, str], ...] = ()

    @property
    def text(self) -> str:
        return text_of(self.segments)

    @property
    def words(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]

    @property
    def confidence(self) -> float | None:
        """The mean of the words'; None where no word has one."""
        return mean_confidence(self.words)

    def result(self) -> dict:
        """The value that the kind's Result describes."""
        return {
            "text": self.text,
            "language": self.language,
            "duration_s": round(self.duration_s, 3),
            "confidence": self.confidence,
            "warnings": list(self.warnings),
        }

    def write(self, folder: Path) -> list[Path]:
        """The four files, in `folder`."""
        captions = cues(self.words, self.duration_s)
        texts = {
            "json": json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n",
            "txt": "".join(f"{segment.text}\n" for segment in self.segments if segment.words),
            "srt": srt(captions),
            "vtt": vtt(captions),
        }
        paths = [folder / f"transcript.{ending}" for ending in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8", newline="\n")
        return paths

    def as_dict(self) -> dict:
        """transcript.json: the result and, below `segments`, every word with its times and confidence."""
        segments = [
            {
                "start": s.start,
                "end": s.end,
                "text": s.text,
                "confidence": mean_confidence(s.words),
                "fit": None if s.fit is None else round(s.fit, 4),
                "words": [asdict(word) for word in s.words],
            }
            for s in self.segments
            if s.words
        ]
        return {**self.result(), "model": self.model, "segments": segments}


def text_of(segments: Sequence[Segment]) -> str:
    """The texts of segments in which something was said."""
    return " ".join(segment.text for segment in segments if segment.words)


def mean_confidence(words: Sequence[Word]) -> float | None:
    known = [word.confidence for word in words if word.confidence is not None]
    return round(fmean(known), 4) if known else None


def srt(captions: Sequence[Cue]) -> str:
    """SubRip: numbered blocks. It has no escapes: an arrow in a text that reads like a time line gets a long dash."""
    return "".join(
        f"{number}\n{_span(cue, ',')}\n{_no_time_line(_text(cue))}\n\n" for number, cue in enumerate(captions, 1)
    )


def _no_time_line(text: str) -> str:
    return ARROW.sub("\\1—>", text)


def vtt(captions: Sequence[Cue]) -> str:
    """WebVTT (W3C, section 4): the text's &, < and > are escaped, which also keeps '-->' out of it."""
    return "WEBVTT\n\n" + "".join(f"{_span(cue, '.')}\n{_escaped(_text(cue))}\n\n" for cue in captions)


def _span(cue: Cue, point: str) -> str:
    return f"{clock(cue.start_ms, point)} --> {clock(cue.end_ms, point)}"


def _text(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clock(milliseconds: int, point: str) -> str:
    """Hours:minutes:seconds, then `point` and milliseconds; hours have two digits or as many as they need."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
