"""English speech by hidden Markov models: PocketSphinx and the model that its wheel carries.

Triphone models with tied states and Gaussian mixtures, a trigram language model, and a Viterbi beam search
in time with the sound; then a search of the word lattice, whose forward-backward posteriors are the words'
confidence. Rabiner, "A tutorial on hidden Markov models" (1989), sections III and VI; Huang et al., "The
SPHINX-II speech recognition system" (1993); Huggins-Daines et al., "PocketSphinx" (2006).

The cepstral mean is taken from each segment as a whole, which a segment must be handed over at once for (fed in
blocks, with the mean of what came before, noisy recordings come out far worse): so a cancel is heard
between segments. One departure from PocketSphinx's defaults: ACTIVE.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
from pocketsphinx import Decoder, get_model_path

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput
from tasks.transcribe import audio, segments
from tasks.transcribe.transcript import Segment, Transcript, Word

LANGUAGE = "en"
FRAMES_PER_S = 100
ACTIVE = 3000  # states kept alive a frame, of 30,000: half the time; the same errors on clean speech, more on noisy
# Fillers of the dictionary (<s>, <sil>, [NOISE], ++UM++) are no words; tomato(2) is a second pronunciation.
FILLER = re.compile(r"^(<.*>|\[.*\]|\+\+.*\+\+)$")
VARIANT = re.compile(r"\(\d+\)$")


class Model(Algorithm):
    """One decoder, made once; calls run one after another."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    @classmethod
    def load(cls, weights: Path | None = None, device: str = "cpu") -> "Model":
        """`weights`: a folder laid out as the wheel's own (en-us/, en-us.lm.bin, cmudict-en-us.dict); None for that."""
        folder = Path(weights or get_model_path("en-us"))
        return cls(Decoder(hmm=str(folder / "en-us"), lm=str(folder / "en-us.lm.bin"),
                           dict=str(folder / "cmudict-en-us.dict"), cmn="batch", maxhmmpf=ACTIVE,
                           loglevel="FATAL"))

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """A transcript for each call. Errors: InvalidInput (also for other languages than English),
        UnsupportedMedia, TooLarge, Canceled."""
        return [self._result(call) for call in calls]

    def _result(self, call: Call) -> Result | BacklotError:
        try:
            transcript = self._transcribe(call)
            return Result(transcript.result(), transcript.write(call.workdir))
        except BacklotError as error:
            return error

    def _transcribe(self, call: Call) -> Transcript:
        if call.params.language != LANGUAGE:
            raise InvalidInput(f"this model knows English ('en') only; language {call.params.language!r} was asked for")
        with TemporaryFile(dir=call.workdir) as pcm:
            spans = segments.find(_kept(audio.blocks(call.inputs["audio"]), pcm, call.canceled))
            duration = pcm.tell() / 2 / audio.RATE
            made = tuple(self._segments(call, spans, pcm))
        call.report(1.0, f"{len(spans)} segments")
        return Transcript(made, duration, LANGUAGE, "hmm")

    def _segments(self, call: Call, spans: list[segments.Span], pcm: BinaryIO) -> Iterator[Segment]:
        self.decoder.reinit_feat()  # else the last recording's noise is subtracted from this one
        total = sum(span.end - span.start for span in spans)
        done = 0.0
        for number, span in enumerate(spans, 1):
            _stop_if(call.canceled)
            call.report(done / total, f"segment {number} of {len(spans)}")
            yield Segment(round(span.start, 3), round(span.end, 3), tuple(self._words(_read(pcm, span), span)))
            done += span.end - span.start

    def _words(self, samples: bytes, span: segments.Span) -> Iterator[Word]:
        """Recognise one segment. Frames are hundredths of a second from the segment's start, the last inclusive."""
        self.decoder.start_utt()
        try:
            self.decoder.process_raw(samples, full_utt=True)
        finally:
            self.decoder.end_utt()
        for part in self.decoder.seg() or ():
            if not FILLER.match(part.word):
                yield Word(VARIANT.sub("", part.word), round(span.start + part.start_frame / FRAMES_PER_S, 3),
                           round(min(span.start + (part.end_frame + 1) / FRAMES_PER_S, span.end), 3),
                           round(min(1.0, max(0.0, part.prob)), 4))


def _kept(blocks: Iterator[np.ndarray], file: BinaryIO, canceled: Callable[[], bool]) -> Iterator[np.ndarray]:
    """The blocks, which are also written to `file`: the whole file is known to be sound before the long work starts,
    and four hours of it take disk, not memory."""
    for block in blocks:
        _stop_if(canceled)
        file.write(block.tobytes())
        yield block


def _read(file: BinaryIO, span: segments.Span) -> bytes:
    first, last = round(span.start * audio.RATE), round(span.end * audio.RATE)
    file.seek(2 * first)
    return file.read(2 * (last - first))


def _stop_if(canceled: Callable[[], bool]) -> None:
    if canceled():
        raise Canceled("the transcription was canceled")
