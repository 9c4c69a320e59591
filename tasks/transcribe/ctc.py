"""Speech by a Transformer that says a sign at each step: any CTC checkpoint that transformers loads.

Baevski et al., "wav2vec 2.0" (2020), Hsu et al., "HuBERT" (2021), and what follows them: a checkpoint in safetensors
with its feature extractor and tokenizer beside it, named by the operator (models.hub.toml). Text is the likeliest sign
of each step. Words, their times and their confidence come from the same steps as the text; where a tokenizer has no
sign that parts words, a stretch's words share its time by their lengths.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCTC, AutoProcessor

from tasks.folder import judged
from tasks.pretrained import check_tokens, load_network, load_part
from tasks.transcribe import Params, audio, languages
from tasks.transcribe.listening import TRIAL, Listener, as_wave, shared
from tasks.transcribe.transcript import Word

Run = tuple[int, int, int, float]  # a sign, its first step, the step past its last, its highest p


class Model(Listener):
    """One stretch a pass: many of these networks hear the padding of a batch. A network with adapters (MMS: Pratap et
    al., "Scaling speech technology to 1,000+ languages", 2023) takes that of the language asked for."""

    name = "ctc"

    def __init__(self, processor: Any, network: Any, device: str, folder: Path | None = None) -> None:
        self.processor, self.network, self.device = processor, network.eval().to(device), device
        self.tokens = processor.tokenizer
        self.delimiter = getattr(self.tokens, "word_delimiter_token_id", None)
        self.native = getattr(self.tokens, "target_lang", None)
        adapters = languages.of_adapters(folder) if self.native else ()
        self.languages = adapters or ((self.native,) if self.native else languages.of_card(folder))
        self.adapted: str | None = None if adapters else self.native

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """From a folder as transformers writes it; no code of the folder's is run. Errors: ModelFailed."""
        network = load_network(weights, AutoModelForCTC, torch.float32)
        processor = load_part(weights, AutoProcessor)
        check_tokens(processor.tokenizer, network, added=False)  # <s> and </s> may be past the signs
        with judged("the network fails at a first sound", "take one that needs nothing but sound", weights or Path()):
            made = cls(processor, network, device, weights)
            tried = Params.model_construct(language=made.native or None)
            made.prepare(tried)
            made.hear([TRIAL], tried)
        return made

    def prepare(self, params: Params) -> None:
        """Put on the adapter of the language."""
        if self.native and params.language != self.adapted:
            self.network.load_adapter(params.language, use_safetensors=True, local_files_only=True)
            self.network.to(self.device)
            self.tokens.set_target_lang(params.language)
            self.adapted = params.language

    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        return [self._words(sound) for sound in sounds]

    @torch.inference_mode()
    def _words(self, sound: np.ndarray) -> list[Word]:
        wave = as_wave(sound)
        features = self.processor(wave, sampling_rate=audio.RATE, return_tensors="pt").to(self.device)
        log_p = self.network(**features).logits[0].log_softmax(dim=-1).cpu().numpy()
        seconds = len(wave) / audio.RATE
        if self.delimiter is None:
            best = log_p.argmax(axis=1)
            return shared(self.tokens.decode(best).split(), seconds, float(np.exp(log_p.max(axis=1).mean())))
        step = seconds / len(log_p)
        return [Word(text, start * step, end * step, round(sure, 4)) for text, start, end, sure in self._read(log_p)]

    def _read(self, log_p: np.ndarray) -> Iterator[tuple[str, int, int, float]]:
        """(steps, signs) to words, first step, step past the last, confidence: the mean p of a word's signs."""
        runs: list[Run] = []
        at = 0
        for sign, run in groupby(log_p.argmax(axis=1).tolist()):
            length = len(list(run))
            if sign != self.tokens.pad_token_id:
                runs.append((sign, at, at + length, float(np.exp(log_p[at : at + length, sign].max()))))
            at += length
        word: list[Run] = []
        for one in [*runs, None]:
            if one is not None and one[0] != self.delimiter:
                word.append(one)
            elif word:
                text = self.tokens.decode([sign for sign, *_ in word], group_tokens=False).strip()
                if text:
                    yield text, word[0][1], word[-1][2], float(np.mean([sure for *_, sure in word]))
                word = []
