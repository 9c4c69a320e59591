"""What was said and when, and the four files that say it: transcript.json, .txt, .srt, .vtt.

Knows nothing of audio or of any recogniser; every transcribing algorithm fills a Transcript.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from textwrap import wrap

# Captions as broadcasters set them: two lines, legible for as long as they stand.
LINE = 42  # characters
LINES = 2
CUE_S = 6.0  # a caption stands no longer than this, unless one word does
PAUSE_S = 0.8  # a pause this long ends a caption


@dataclass(frozen=True)
class Word:
    """Seconds from the start of the recording; confidence 0-1, None where the model gives none."""

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch between two pauses. Its words lie in it, in order."""

    start: float
    end: float
    words: tuple[Word, ...]

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
        return " ".join(segment.text for segment in self.segments if segment.words)

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
        texts = {
            "json": json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n",
            "txt": "".join(f"{segment.text}\n" for segment in self.segments if segment.words),
            "srt": srt(cues(self.segments)),
            "vtt": vtt(cues(self.segments)),
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
                "words": [asdict(word) for word in s.words],
            }
            for s in self.segments
            if s.words
        ]
        return {**self.result(), "model": self.model, "segments": segments}


@dataclass(frozen=True)
class Cue:
    """One caption: milliseconds, and lines of text."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def mean_confidence(words: Sequence[Word]) -> float | None:
    known = [word.confidence for word in words if word.confidence is not None]
    return round(fmean(known), 4) if known else None


def cues(segments: Sequence[Segment]) -> list[Cue]:
    """Captions of at most LINES lines of LINE characters; each ends before the next begins, and lasts a while."""
    made: list[Cue] = []
    for words in (group for segment in segments for group in _grouped(segment.words)):
        start = max(round(words[0].start * 1000), made[-1].end_ms if made else 0)
        end = max(round(words[-1].end * 1000), start + 1)
        made.append(Cue(start, end, tuple(wrap(_joined(words), LINE))))
    return made


def _grouped(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words that share a caption."""
    group: list[Word] = []
    for word in words:
        if group and not _fits(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _fits(group: list[Word], word: Word) -> bool:
    return (
        len(wrap(_joined([*group, word]), LINE)) <= LINES
        and word.end - group[0].start <= CUE_S
        and word.start - group[-1].end < PAUSE_S
    )


def _joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def srt(captions: Sequence[Cue]) -> str:
    """SubRip: numbered blocks."""
    return "".join(f"{number}\n{_span(cue, ',')}\n{_text(cue)}\n\n" for number, cue in enumerate(captions, 1))


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
