"""A checkpoint's own sampling: what its generation_config says of the choice of tokens, where the caller says nothing.

It knows a GenerationConfig of transformers and the params of a call; it does not know networks. A value that the caller
gives wins. Where a checkpoint samples (`do_sample`) and leaves a value out, the library's default is meant, as in its
generate(); where it says that it does not sample, the likeliest token is taken. Lengths are the caller's alone.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from tasks.folder import judged, read_json, unusable
from tasks.generate import Params
from tasks.warning import warning

PARAMS = ("temperature", "top_k", "top_p", "repetition_penalty")
DEFAULTS = {"temperature": 1.0, "top_k": 50}  # of generate(), where do_sample is true and the checkpoint says no more
STEERS: dict[
    str, tuple[Any, ...]
] = {  # fields that the library's own processors honour, and the values that say nothing
    "min_p": (None, 0),
    "top_h": (None,),
    "typical_p": (None, 1),
    "epsilon_cutoff": (None, 0),
    "eta_cutoff": (None, 0),
    "no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None, []),
    "sequence_bias": (None, {}, []),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "exponential_decay_length_penalty": (None,),
}
IGNORED: dict[
    str, tuple[Any, ...]
] = {  # fields that change the text and are not honoured, and the values that say nothing
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "penalty_alpha": (None, 0),
    "guidance_scale": (None, 1),
    "encoder_repetition_penalty": (None, 1),
    "encoder_no_repeat_ngram_size": (None, 0),
    "dola_layers": (None,),
    "constraints": (None,),
    "force_words_ids": (None,),
    "token_healing": (None, False),
    "watermarking_config": (None,),
    "custom_generate": (None,),
}
PLAIN = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}  # what our own sampling has left to do then
Steer = Callable[[Sequence[int], np.ndarray], np.ndarray]


def check_sampling(folder: Path | None) -> None:
    """That a generation_config.json can be read, for transformers goes on without it; errors: ModelFailed."""
    if folder is None or not (folder / GENERATION_CONFIG_NAME).exists():
        return
    read_json(folder / GENERATION_CONFIG_NAME)
    with judged(f"{GENERATION_CONFIG_NAME} has a value that is refused", "correct it", folder):
        GenerationConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


class OwnSampling:
    """What a checkpoint's generation_config changes.

    stated    its values of our params
    stop      texts that end an answer
    ignored   the fields that are not honoured
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.config = model, model.generation_config
        self.ignored = [name for name, nothing in IGNORED.items() if getattr(self.config, name, None) not in nothing]
        self.steers = [name for name, nothing in STEERS.items() if getattr(self.config, name, None) not in nothing]
        self.stated = self._stated()
        texts = self.config.stop_strings or []
        self.stop = [texts] if isinstance(texts, str) else list(texts)
        if self.steers:
            self._check_steers()

    def _stated(self) -> dict[str, Any]:
        """Values that Params takes; what it refuses is ignored."""
        stated = {name: getattr(self.config, name) for name in PARAMS if getattr(self.config, name) is not None}
        if self.config.do_sample:
            stated = {**DEFAULTS, **stated}
        elif self.config.do_sample is False:
            stated["temperature"] = 0
        for name, value in list(stated.items()):
            try:
                stated[name] = getattr(Params.model_validate({name: value}), name)
            except ValidationError:
                del stated[name]
                self.ignored.append(name)
        return stated

    def _check_steers(self) -> None:
        """Fields whose values the library refuses are ignored."""
        try:
            self._processors(self.params(Params()), 1, 1, (0,))(torch.ones(1, 1, dtype=torch.int64), self._blank())
        except Exception:  # whatever the library raises at a value that it does not know
            self.ignored += self.steers
            self.steers = []

    def _blank(self) -> torch.Tensor:
        return torch.zeros(1, self.model.get_input_embeddings().weight.shape[0], dtype=torch.float64)

    def params(self, asked: Params) -> Params:
        """The caller's params, with the checkpoint's values where they say nothing."""
        own = {name: value for name, value in self.stated.items() if name not in asked.model_fields_set}
        return asked.model_copy(update={**own, "stop": [*asked.stop, *self.stop]})

    def warnings(self) -> list[dict[str, str]]:
        if not self.ignored:
            return []
        fields = ", ".join(sorted(self.ignored))
        detail = (
            f"The checkpoint's generation_config asks for {fields}, which this service does not do, or not with that"
            " value; the text was chosen without it. Set temperature, top_k, top_p and repetition_penalty yourself."
        )
        return [warning("sampling_ignored", detail)]

    def steer(
        self, params: Params, prompt: Sequence[int], most: int, ends: Collection[int]
    ) -> tuple[Params, Steer | None]:
        """A function of the tokens written so far and the scores (vocabulary,) of the next, which gives the scores to
        choose by; and the params that are left to apply to these. None where the checkpoint says nothing of that."""
        if not self.steers:
            return params, None
        processors = self._processors(params, len(prompt), most, ends)
        plain = {**PLAIN, "temperature": 1.0 if params.temperature else 0.0}
        return params.model_copy(update=plain), partial(_steered, processors, list(prompt))

    def _processors(self, params: Params, prompt: int, most: int, ends: Collection[int]) -> LogitsProcessorList:
        """As generate() makes them, in its order."""
        config: GenerationConfig = copy.deepcopy(self.config)
        chosen = {name: getattr(params, name) for name in PARAMS} | {"do_sample": params.temperature > 0}
        for name, value in {**chosen, **dict.fromkeys(IGNORED), "max_length": prompt + most}.items():
            setattr(config, name, value)
        config._eos_token_tensor = torch.tensor(list(ends)) if ends else None
        if not ends:
            config.exponential_decay_length_penalty = None  # it makes an end likelier, and there is none
        return self.model._get_logits_processor(config, input_ids_seq_length=prompt, device="cpu", model_kwargs={})


def _steered(
    processors: LogitsProcessorList, prompt: list[int], written: Sequence[int], scores: np.ndarray
) -> np.ndarray:
    tokens = torch.tensor([[*prompt, *written]])
    steered: np.ndarray = processors(tokens, torch.from_numpy(scores)[None].clone())[0].numpy()
    if not np.isfinite(steered).any():
        raise unusable("its generation_config forbids every token", f"correct {GENERATION_CONFIG_NAME}")
    return steered
