"""What all transcribing algorithms share: from a recording to a transcript, stretch by stretch.

Decoding, finding speech, noise, progress, cancels, checkpoints, times and files are here; what was said in a stretch,
a subclass knows.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, ClassVar

import numpy as np

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput
from tasks.transcribe import Params, audio, not_known, segments
from tasks.transcribe.denoise import CONTEXT_S, denoised
from tasks.transcribe.domain import doubted, findings
from tasks.transcribe.finished import Finished
from tasks.transcribe.transcript import Segment, Transcript, Word, text_of
from tasks.warning import warning

UNKNOWN = "und"  # ISO 639-2, 'undetermined'
SHORTEST = audio.RATE // 10  # samples; of a shorter sound some networks of the hub make no step at all
TRIAL = (np.random.default_rng(0).normal(size=audio.RATE) * 1000).astype(np.int16)  # a second of noise, to try a model


class Listener(Algorithm):
    """Calls run one after another; of each, `at_once` stretches of speech are heard together.

    name       what transcript.json calls the model
    languages  that it knows, as ISO 639 codes or as its checkpoint calls them; empty where nothing says which
    native     the language of a call that names none; without it English where it is known, or the only one
    doubts     warnings of the call that is being heard
    echo       stretches before one that have a say in what is heard in it
    canceled   of the call that is being heard, for a `hear` that takes long
    """

    name: ClassVar[str]
    languages: tuple[str, ...] = ("en",)
    native: str | None = None
    at_once: int = 1
    echo: ClassVar[int] = 0
    canceled: Callable[[], bool] = staticmethod(lambda: False)
    doubts: tuple[dict[str, str], ...] = ()

    @abstractmethod
    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        """The words of each stretch, (samples,) int16; times in seconds from its own start."""

    def judged(self, sounds: Sequence[np.ndarray], params: Params) -> list[tuple[list[Word], float | None]]:
        """What `hear` tells, and the fit of each stretch (domain.py); None where the model cannot judge it."""
        return [(words, None) for words in self.hear(sounds, params)]

    def prepare(self, params: Params) -> None:
        """Before a call's first stretch; errors: InvalidInput, for params that cannot be used."""

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """A transcript for each call. Errors: InvalidInput (also for a language that is not known),
        UnsupportedMedia, TooLarge, Canceled."""
        results = []
        for call in calls:
            results.append(self._result(call))
            call.answer(results[-1])
        return results

    def length(self, call: Call) -> int:
        """Bytes: as good a guess as there is before decoding."""
        return Path(call.inputs["audio"]).stat().st_size

    def _result(self, call: Call) -> Result | BacklotError:
        try:
            transcript = self._transcribe(call)
            return Result(transcript.result(), transcript.write(call.workdir))
        except BacklotError as error:
            return error

    def _transcribe(self, call: Call) -> Transcript:
        self.canceled, self.doubts = call.canceled, ()
        call = replace(call, params=call.params.model_copy(update={"language": self.language(call.params.language)}))
        self.prepare(call.params)
        sound = hashlib.sha256()
        warnings: list[dict[str, str]] = []
        params = call.params
        blocks = audio.blocks(call.inputs["audio"], track=params.track, damaged=params.damaged, warn=warnings.append)
        with TemporaryFile(dir=call.workdir) as pcm:
            spans = segments.find(_kept(blocks, pcm, sound.update, call.canceled))
            duration = pcm.tell() / 2 / audio.RATE
            finished = Finished(call, self.name, sound.hexdigest(), spans)
            self._finish(call, finished, spans, pcm)
        call.report(1.0, f"{len(spans)} segments")
        doubts = (*warnings, *self.doubts, *findings(finished.segments, duration))
        return Transcript(tuple(finished.segments), duration, call.params.language, self.name, doubts)

    def language(self, asked: str | None) -> str:
        """The language that is heard; UNKNOWN where nothing says which. Errors: InvalidInput, for one that the model
        does not know, or where it knows several and none is native."""
        if not self.languages:
            if asked:
                ignored = (
                    f"the model's folder does not say which languages it knows: language {asked!r} changed nothing"
                )
                self.doubts += (warning("language_unknown", ignored),)
            return UNKNOWN
        native = self.native or ("en" if "en" in self.languages else None)
        chosen = asked or native or (self.languages[0] if len(self.languages) == 1 else None)
        if chosen not in self.languages:
            raise InvalidInput(not_known(asked, self.languages))
        return chosen

    def _finish(self, call: Call, finished: Finished, spans: list[segments.Span], pcm: BinaryIO) -> None:
        """All spans after those that a checkpoint had."""
        total, begin = sum(span.end - span.start for span in spans), len(finished.segments)
        done = sum(span.end - span.start for span in spans[:begin])
        for span in spans[max(0, begin - self.echo) : begin] if begin < len(spans) else ():
            self.hear([_sound(pcm, span, call.params.denoise)], call.params)
        for first in range(begin, len(spans), self.at_once):
            group = spans[first : first + self.at_once]
            _stop_if(call.canceled)
            call.report(done / total, f"segment {first + 1} of {len(spans)}")
            sounds = [_sound(pcm, span, call.params.denoise) for span in group]
            heard = self.judged(sounds, call.params)
            finished.add(
                [
                    Segment(round(span.start, 3), round(span.end, 3), tuple(_placed(doubted(words, fit), span)), fit)
                    for span, (words, fit) in zip(group, heard, strict=True)
                ]
            )
            call.so_far(text_of(finished.segments))
            done += sum(span.end - span.start for span in group)


def as_wave(sound: np.ndarray) -> np.ndarray:
    """(samples,) int16 to float32 below 1, with silence behind it where it is shorter than SHORTEST."""
    return np.pad(sound.astype(np.float32) / 32768, (0, max(0, SHORTEST - len(sound))))


def shared(words: Sequence[str], seconds: float, confidence: float) -> list[Word]:
    """Words that share a stretch of so many seconds, each by its letters and the space behind it."""
    ends = np.cumsum([0, *(len(word) + 1 for word in words)])
    ends = ends / max(1, ends[-1]) * seconds
    return [
        Word(word, float(start), float(end), round(confidence, 4))
        for word, start, end in zip(words, ends[:-1], ends[1:], strict=True)
    ]


def _kept(
    blocks: Iterator[np.ndarray], file: BinaryIO, hashed: Callable[[bytes], None], canceled: Callable[[], bool]
) -> Iterator[np.ndarray]:
    """The blocks, which are also hashed and written to `file`: the whole file is known to be sound before the long work
    starts, and four hours of it take disk, not memory."""
    for block in blocks:
        _stop_if(canceled)
        hashed(block.tobytes())
        file.write(block.tobytes())
        yield block


def _sound(file: BinaryIO, span: segments.Span, denoise: str) -> np.ndarray:
    """The samples of a span, int16. What is measured of the noise, is also measured a little before and behind it."""
    if denoise == "off":
        return _read(file, span.start, span.end)[0]
    sound, before = _read(file, span.start - CONTEXT_S, span.end + CONTEXT_S)
    start = round(span.start * audio.RATE) - before
    return denoised(sound)[start : start + round(span.end * audio.RATE) - round(span.start * audio.RATE)]


def _read(file: BinaryIO, start: float, end: float) -> tuple[np.ndarray, int]:
    """Samples between two times, as far as there are any, and the number of the first."""
    first, last = max(0, round(start * audio.RATE)), round(end * audio.RATE)
    file.seek(2 * first)
    return np.frombuffer(file.read(2 * (last - first)), np.int16), first


def _placed(words: Sequence[Word], span: segments.Span) -> Iterator[Word]:
    """With times from the start of the recording, none past its stretch."""
    for word in words:
        start, end = (round(min(span.start + time, span.end), 3) for time in (word.start, word.end))
        yield Word(word.text, start, max(end, start), word.confidence)


def _stop_if(canceled: Callable[[], bool]) -> None:
    if canceled():
        raise Canceled("the transcription was canceled")
