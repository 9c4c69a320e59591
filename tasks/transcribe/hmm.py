"""English speech by hidden Markov models: PocketSphinx and the model that its wheel carries.

Triphone models with tied states and Gaussian mixtures, a trigram language model, and a Viterbi beam search
in time with the sound; then a search of the word lattice, whose forward-backward posteriors are the words'
confidence. Rabiner, "A tutorial on hidden Markov models" (1989), sections III and VI; Huang et al., "The
SPHINX-II speech recognition system" (1993); Huggins-Daines et al., "PocketSphinx" (2006).

The cepstral mean is taken from each segment as a whole, which a segment must be handed over at once for (fed in
blocks, with the mean of what came before, noisy recordings come out far worse): so a cancel is heard
between segments. One departure from PocketSphinx's defaults: ACTIVE. With a grammar or a list of words, its
search over a finite-state graph takes the place of the trigrams; that search gives no confidence.

    domain.json          how like speech a stretch has to sound (domain.py, voice.py), whatever its words are
    domain.safetensors   the two mixtures of voice.py
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder, get_model_path

from tasks.errors import InvalidInput
from tasks.folder import trained
from tasks.transcribe import Params, grammar
from tasks.transcribe.domain import Domain
from tasks.transcribe.listening import Listener
from tasks.transcribe.transcript import Word
from tasks.transcribe.voice import Voice

FRAMES_PER_S = 100
ACTIVE = 3000  # states kept alive a frame, of 30,000: half the time; the same errors on clean speech, more on noisy
# Fillers of the dictionary (<s>, <sil>, [NOISE], ++UM++) are no words; tomato(2) is a second pronunciation.
FILLER = re.compile(r"^(<.*>|\[.*\]|\+\+.*\+\+|\(NULL\))$")
VARIANT = re.compile(r"\(\d+\)$")
ASKED = "asked"  # the name of the search that a call's grammar or words ask for
LANGUAGE, DICTIONARY = "en-us.lm.bin", "cmudict-en-us.dict"
NAMED = 8  # words that an error lists
OWN = Path(__file__).parent / "weights" / "hmm"  # what is told of the wheel's model


class Model(Listener):
    """One decoder, made once; calls run one after another."""

    name = "hmm"
    echo = 1  # the noise at a stretch's begin is taken from the one before; with one, nothing older was found to matter

    def __init__(self, decoder: Decoder, domain: Domain | None = None, voice: Voice | None = None) -> None:
        self.decoder, self.domain, self.voice = decoder, domain, voice
        self.usual = decoder.current_search()

    @classmethod
    def load(cls, weights: Path | None = None, device: str = "cpu") -> "Model":
        """`weights`: a folder laid out as the wheel's own (en-us/, en-us.lm.bin, cmudict-en-us.dict), which may have a
        domain.json; None for the wheel's, judged by OWN. Errors: ModelFailed."""
        with trained(Path(weights or get_model_path("en-us")), "hmm", LANGUAGE, DICTIONARY) as folder:
            decoder = Decoder(
                hmm=str(folder / "en-us"),
                lm=str(folder / LANGUAGE),
                dict=str(folder / DICTIONARY),
                cmn="batch",
                maxhmmpf=ACTIVE,
                loglevel="FATAL",
            )
            domain = Domain.read(weights or OWN)
            return cls(decoder, domain, Voice.read(weights or OWN) if domain else None)

    def prepare(self, params: Params) -> None:
        """Errors: InvalidInput, for a grammar that cannot be read, and words that are not in the dictionary."""
        self.decoder.activate_search(self.usual)
        if params.grammar is not None and params.words is not None:
            raise InvalidInput("give a grammar or words, not both")
        if params.words is not None:
            self._search(grammar.of_words(params.words))
        elif params.grammar is not None:
            self._search(grammar.of_jsgf(params.grammar))
        self.decoder.reinit_feat()  # else the last recording's noise is subtracted from this one

    def _search(self, graph: grammar.Graph) -> None:
        unknown = sorted(
            word
            for word in graph.words
            if FILLER.match(word) or VARIANT.search(word) or self.decoder.lookup_word(word) is None
        )
        if unknown:
            more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
            raise InvalidInput(
                f"not in the dictionary of 134,000 English words: {', '.join(unknown[:NAMED])}{more}; "
                "spell numbers out, and leave out punctuation"
            )
        arcs = [arc if arc[3] is not None else arc[:3] for arc in graph.closed().arcs]
        self.decoder.add_fsg(ASKED, self.decoder.create_fsg(ASKED, 0, graph.final, arcs))
        self.decoder.activate_search(ASKED)

    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        sure = params.grammar is None and params.words is None
        return [list(self._words(sound.tobytes(), sure)) for sound in sounds]

    def judged(self, sounds: Sequence[np.ndarray], params: Params) -> list[tuple[list[Word], float | None]]:
        fits = [self.domain.fit(self.measured(sound)) if self.domain else None for sound in sounds]
        return list(zip(self.hear(sounds, params), fits, strict=True))

    def measured(self, sound: np.ndarray) -> dict[str, float]:
        """What domain.json judges: nats a frame."""
        assert self.voice is not None, "a domain comes with its mixtures"
        return {"voice": self.voice.ratio(sound)}

    def _words(self, samples: bytes, sure: bool) -> Iterator[Word]:
        """Frames are hundredths of a second from the stretch's start, the last inclusive."""
        self.decoder.start_utt()
        try:
            self.decoder.process_raw(samples, full_utt=True)
        finally:
            self.decoder.end_utt()
        for part in self.decoder.seg() or ():
            if not FILLER.match(part.word):
                yield Word(
                    VARIANT.sub("", part.word),
                    part.start_frame / FRAMES_PER_S,
                    (part.end_frame + 1) / FRAMES_PER_S,
                    round(min(1.0, max(0.0, part.prob)), 4) if sure else None,
                )
