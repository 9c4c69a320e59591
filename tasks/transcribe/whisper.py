"""Speech in any language that a Whisper-like checkpoint knows: Transformer, sound in, text out.

Radford et al., "Robust speech recognition via large-scale weak supervision" (2022). Any checkpoint that transformers
loads as a speech sequence-to-sequence model, in safetensors, with its feature extractor and tokenizer beside it; named
by the operator (models.hub.toml). The text is read off greedily, as the checkpoint's own generation settings say.
Word times: the model is asked for none (its time stamps need heads that only some checkpoints name); a stretch's words
share its time by their lengths. Confidence: each word has the mean p of its stretch's tokens.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    GenerationMixin,
    StoppingCriteria,
    StoppingCriteriaList,
)

from tasks.errors import Canceled, InvalidInput
from tasks.pretrained import check_tokens, load_network, load_part
from tasks.transcribe import Params, audio
from tasks.transcribe.listening import Listener, shared
from tasks.transcribe.transcript import Word


class Model(Listener):
    """Stretches of at most 20 s, several a pass; no stretch hears another."""

    name = "whisper"
    languages = ()
    at_once = 8

    def __init__(self, processor: Any, network: GenerationMixin, device: str) -> None:
        self.processor, self.network, self.device = processor, network.eval().to(device), device
        settings = network.generation_config
        self.asks = bool(getattr(settings, "lang_to_id", None))  # whether it can be told the language
        english = getattr(settings, "is_multilingual", None) is False
        known = settings.lang_to_id if self.asks else ("<|en|>",) if english else ()
        self.known = sorted(token.strip("<|>") for token in known)

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """From a folder as transformers writes it; no code of the folder's is run. Errors: ModelFailed."""
        network = load_network(weights, AutoModelForSpeechSeq2Seq, torch.float32)
        processor = load_part(weights, AutoProcessor)
        check_tokens(processor.tokenizer, network)
        return cls(processor, network, device)

    def prepare(self, params: Params) -> None:
        """Errors: InvalidInput, for a language that the checkpoint lists not."""
        if self.known and params.language not in self.known:
            raise InvalidInput(f"this model knows {', '.join(self.known)}; language {params.language!r} was asked for")

    @torch.inference_mode()
    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        waves = [sound.astype(np.float32) / 32768 for sound in sounds]
        features = self.processor(waves, sampling_rate=audio.RATE, return_tensors="pt", return_attention_mask=True)
        asked = {"language": params.language, "task": "transcribe"} if self.asks else {}
        made = self.network.generate(
            **features.to(self.device),
            **asked,
            return_dict_in_generate=True,
            output_scores=True,
            do_sample=False,
            num_beams=1,
            stopping_criteria=StoppingCriteriaList([_Canceling(self.canceled)]),
        )
        texts = self.processor.batch_decode(made.sequences, skip_special_tokens=True)
        return [
            shared(text.split(), len(sound) / audio.RATE, sure)
            for text, sound, sure in zip(texts, sounds, self._sure(made), strict=True)
        ]

    def _sure(self, made: Any) -> list[float]:
        """Mean p of the tokens of each text that are none of the special ones."""
        tokens = made.sequences[:, -len(made.scores) :]
        chosen = torch.stack(made.scores, dim=1).softmax(dim=-1).gather(2, tokens[..., None])[..., 0]
        special = torch.isin(tokens, torch.tensor(self.processor.tokenizer.all_special_ids, device=tokens.device))
        counted = (~special).float()
        return ((chosen * counted).sum(1) / counted.sum(1).clamp(min=1)).tolist()


class _Canceling(StoppingCriteria):
    """Asks before each token whether the call is still wanted; stops generate() by raising Canceled."""

    def __init__(self, canceled: Callable[[], bool]) -> None:
        self.canceled = canceled

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        if self.canceled():
            raise Canceled("the transcription was canceled")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
