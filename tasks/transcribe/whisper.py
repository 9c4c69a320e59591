"""Speech by a Whisper, or any other checkpoint that hears with an encoder and writes with a decoder.

Radford et al., "Robust speech recognition via large-scale weak supervision" (2022). Any checkpoint that transformers
loads as a speech sequence-to-sequence model (Moonshine, Speech2Text, SpeechT5, ...), in safetensors, with its feature
extractor and tokenizer beside it; named by the operator (models.hub.toml). It is tried on a second of noise when it is
loaded, so that one that needs more than sound is refused there. The text is read off greedily, as the checkpoint's own
generation settings say, in one pass without time stamps (they need heads that only some checkpoints name); a stretch's
words share its time by their lengths. Confidence: each word has the mean p of its stretch's tokens.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, StoppingCriteria, StoppingCriteriaList

from tasks.errors import Canceled
from tasks.folder import judged, unusable
from tasks.pretrained import check_tokens, load_network, load_part
from tasks.transcribe import Params, audio, languages
from tasks.transcribe.listening import TRIAL, Listener, as_wave, shared
from tasks.transcribe.segments import MAX_S
from tasks.transcribe.transcript import Word
from tasks.warning import warning

THRESHOLDS = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
"""Settings by which a Whisper tries a stretch again, at a temperature, or leaves it out; here each is heard once."""
TOGETHER = 8  # stretches that a Whisper hears in one pass: its window has one length, so that none hears the padding


class Model(Listener):
    """Stretches of at most 20 s; no stretch hears another."""

    name = "whisper"

    def __init__(self, processor: Any, network: Any, device: str, folder: Path | None = None) -> None:
        self.hears, self.tokens = processor.feature_extractor, processor.tokenizer
        self.network, self.device = network.eval().to(device), device
        self.whispers = network.config.model_type == "whisper"
        for name in THRESHOLDS if self.whispers else ():
            setattr(network.generation_config, name, None)
        self.at_once = TOGETHER if self.whispers else 1
        self.languages = languages.of_whisper(network, self.tokens) if self.whispers else languages.of_card(folder)
        self.native = languages.preset(network) if self.whispers else None
        self.asks = self.whispers and bool(self.languages) and bool(getattr(network.generation_config, "lang_to_id", 0))

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """From a folder as transformers writes it; no code of the folder's is run. Errors: ModelFailed."""
        network = load_network(weights, AutoModelForSpeechSeq2Seq, torch.float32)
        processor = load_part(weights, AutoProcessor)
        check_tokens(processor.tokenizer, network)
        window_s = getattr(processor.feature_extractor, "chunk_length", MAX_S)
        if window_s < MAX_S:
            step = f"take one that hears {MAX_S:.0f} s at once"
            raise unusable(f"the network hears {window_s} s at once, and stretches have up to {MAX_S:.0f} s", step)
        with judged("the network fails at a first sound", "take one that needs nothing but sound", weights or Path()):
            made = cls(processor, network, device, weights)
            made.hear([TRIAL], Params.model_construct(language=(*made.languages, None)[0]))
        return made

    @torch.inference_mode()
    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        waves = [as_wave(sound) for sound in sounds]
        given = waves if self.whispers else waves[0]
        features = self.hears(given, sampling_rate=audio.RATE, return_tensors="pt", return_attention_mask=True)
        made = self.network.generate(
            **features.to(self.device),
            **self._options(params),
            return_dict_in_generate=True,
            output_scores=True,
            do_sample=False,
            num_beams=1,
            stopping_criteria=StoppingCriteriaList([_Canceling(self.canceled)]),
        )
        tokens = made.sequences[:, -len(made.scores) :]
        special = self._special(tokens)
        if not special[:, -1].all() and "text_cut" not in [doubt["code"] for doubt in self.doubts]:
            cut = "a stretch has more words than the model writes at once; its end is not in the text"
            self.doubts += (warning("text_cut", cut),)
        texts = [self.tokens.decode(row[~marks]) for row, marks in zip(tokens, special, strict=True)]
        return [
            shared(text.split(), len(sound) / audio.RATE, sure)
            for text, sound, sure in zip(texts, sounds, _sure(tokens, ~special, made.scores), strict=True)
        ]

    def _options(self, params: Params) -> dict[str, Any]:
        """Of a Whisper's generate(): one pass whatever its settings say. A second one follows a time stamp in the text,
        and only the last pass' text would be told."""
        if not self.whispers:
            return {}
        options: dict[str, Any] = {"return_timestamps": False, "force_unique_generate_call": True}
        if self.asks:
            options |= {"language": params.language}
            options |= {"task": "transcribe"} if self.network.generation_config.task_to_id else {}
        return options

    def _special(self, tokens: Tensor) -> Tensor:
        """(rows, steps): which tokens are no text: ends, marks, a Whisper's time stamps."""
        special = torch.isin(tokens, torch.tensor(self.tokens.all_special_ids, device=tokens.device))
        last = getattr(self.network.generation_config, "no_timestamps_token_id", None) if self.whispers else None
        return special if last is None else special | (tokens > last)


def _sure(tokens: Tensor, counted: Tensor, scores: Sequence[Tensor]) -> list[float]:
    """Mean p of the tokens of each text that are counted."""
    chosen = torch.stack(list(scores), dim=1).softmax(dim=-1).gather(2, tokens[..., None])[..., 0]
    return ((chosen * counted).sum(1) / counted.sum(1).clamp(min=1)).tolist()


class _Canceling(StoppingCriteria):
    """Asks before each token whether the call is still wanted; stops generate() by raising Canceled."""

    def __init__(self, canceled: Callable[[], bool]) -> None:
        self.canceled = canceled

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        if self.canceled():
            raise Canceled("the transcription was canceled")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
