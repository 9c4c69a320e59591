"""A prompt, or a conversation, continued by any causal language model of the transformers library.

Wolf et al. (2020), "Transformers: State-of-the-Art Natural Language Processing". Prompts are read one by one, without
padding; then one token of every text a pass, over keys and values padded on the left to the longest. Texts that end
leave the batch. It knows folders of safetensors and tokenizer.json; no code of a folder is ever run.

The same seed gives the same text alone. In a batch, the last bits of a score depend on what runs beside it; whether
that can be seen depends on their size. Models of up to 64 million parameters compute in float64, where scores differ
by some 10^-13: a draw falls between them once in some 10^12 tokens, and equal scores, rounded to multiples of 2^-20,
stay equal. Larger models compute in float32 (on a GPU, in what they were saved in), where that is once in some 10^5
tokens: for these, `batch = 1` in models.toml gives the same text always. Models that keep something other than keys
and values of all that was read (a sliding window) run row by row; those that keep no keys and values are refused.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from tasks.algorithm import Call
from tasks.errors import InvalidInput, ModelFailed
from tasks.generate.language import LanguageModel, fitted, usable
from tasks.generate.writing import Prompt, Reading
from tasks.pretrained import check_causal, check_tokens, load_network, load_part

DOUBLE = 64_000_000  # parameters up to which a model computes in float64
GRID = 2.0**-20  # of scores
PORTION = 512  # tokens of a prompt read at once, between two looks at whether the call was canceled
UNBOUNDED = 10**6  # tokenizers that know no limit say one past this
WINDOW = 512  # tokens of a text to embed read at once, where the model would allow for more
KNOWN = 6  # tokens of the text before, by which the next ones are spelt: spaces and split characters depend on them


class Decoding(Reading):
    """Rows that have a cache each until all prompts are read, and then one together, where the model allows it."""

    def __init__(self, model: PreTrainedModel, rows: int) -> None:
        self.model, self.alone = model, [DynamicCache(config=model.config) for _ in range(rows)]
        self.together: DynamicCache | None = None
        self.joins = all(type(layer) is DynamicLayer for cache in self.alone for layer in cache.layers)
        self.takes = inspect.signature(model.forward).parameters
        self.mask = torch.ones(rows, 0, dtype=torch.int64, device=model.device)

    def portions(self, ahead: Sequence[int]) -> list[int]:
        if self.together is not None:
            return [1] * len(ahead)
        unread = next(
            (row for row, tokens in enumerate(ahead) if tokens > 1 or not self.alone[row].get_seq_length()), None
        )
        return [1 if unread is None else min(tokens, PORTION) * (row == unread) for row, tokens in enumerate(ahead)]

    def read(self, tokens: Sequence[Sequence[int]], speakers: Sequence[int]) -> np.ndarray:
        reading = [row for row, given in enumerate(tokens) if given]
        if self.together is None and (len(reading) == 1 or not self.joins):
            logits = torch.cat([self._forward([tokens[row]], self.alone[row]) for row in reading])
        else:
            if self.together is None:
                self._join()
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
            places = (self.mask.sum(1) - 1)[:, None]
            logits = self._forward(tokens, self.together, attention_mask=self.mask, position_ids=places)
        if not speakers:
            return np.empty((0, 0))
        return (torch.round(logits.double() / GRID) * GRID).cpu().numpy()

    def _forward(self, tokens: Sequence[Sequence[int]], cache: DynamicCache, **more: Any) -> Tensor:
        """(rows, vocabulary): scores after each row's last token."""
        given = torch.tensor([list(row) for row in tokens], device=self.model.device)
        known = {name: value for name, value in {**more, "logits_to_keep": 1}.items() if name in self.takes}
        return self.model(input_ids=given, past_key_values=cache, use_cache=True, **known).logits[:, -1]

    def _join(self) -> None:
        """One cache of all rows, shorter ones padded on the left; the mask says where."""
        sizes = [cache.get_seq_length() for cache in self.alone]
        longest = max(sizes)
        blank = longest - torch.tensor(sizes)[:, None]
        self.mask = (torch.arange(longest) >= blank).long().to(self.model.device)
        self.together = DynamicCache(config=self.model.config)
        for layer in range(len(self.alone[0].layers)):
            keys, values = (
                torch.cat([_padded(getattr(cache.layers[layer], part), longest) for cache in self.alone])
                for part in ("keys", "values")
            )
            self.together.update(keys, values, layer)

    def keep(self, rows: Sequence[int]) -> None:
        kept = torch.tensor(list(rows), dtype=torch.int64, device=self.model.device)
        self.mask = self.mask[kept]
        if self.together is not None:
            self.together.batch_select_indices(kept)
        else:
            self.alone = [
                copy.deepcopy(self.alone[row]) if row in rows[:place] else self.alone[row]
                for place, row in enumerate(rows)
            ]


def _padded(part: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(part, (0, 0, size - part.shape[2], 0))


class Model(LanguageModel):
    """Any causal language model with its tokenizer, from a folder as save_pretrained writes it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        config = model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
        known = next((limit for limit in limits if limit), tokenizer.model_max_length)
        self.context = known if known <= UNBOUNDED else None
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self.ends = frozenset(ends if isinstance(ends, list) else [ends]) - {None}

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """From a folder with config.json, *.safetensors and a tokenizer; errors: ModelFailed, of one that is not whole
        or of another kind (tasks/pretrained.py)."""
        model = load_network(weights, AutoModelForCausalLM, "auto" if device == "cuda" else torch.float32)
        tokenizer = load_part(weights, AutoTokenizer)
        check_tokens(tokenizer, model)
        check_causal(model)
        if "past_key_values" not in inspect.signature(model.forward).parameters:
            raise ModelFailed(f"a {model.config.model_type} model keeps no keys and values, and cannot be run by hf")
        if sum(value.numel() for value in model.parameters()) <= DOUBLE:
            model = model.double()
        return cls(model.to(device).eval(), tokenizer)

    def prompt(self, call: Call) -> Prompt:
        whole = tokens = self._tokens(call)
        if self.context is not None:
            tokens = list(fitted(whole, self.context - 1, call.params.on_long_prompt))
            if whole[0] == self.tokenizer.bos_token_id:
                tokens[0] = whole[0]  # a text that is cut begins like any other
        most = min(call.params.max_tokens, (self.context or UNBOUNDED) - len(tokens))
        return Prompt(tokens, len(tokens), most, lambda: self._speller(tokens), self.ends)

    def _tokens(self, call: Call) -> list[int]:
        messages = call.inputs.get("messages")
        if messages is None:
            return self.tokenizer(usable(call.inputs.get("prompt")))["input_ids"]
        if self.tokenizer.chat_template is None:
            raise InvalidInput("this model's tokenizer has no chat template: give a prompt, not messages")
        try:
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # a template refuses by raising whatever it likes, in its own words
            raise InvalidInput(f"the model's chat template refuses these messages: {error}"[:500]) from error
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _speller(self, prompt: Sequence[int]) -> Callable[[int], str]:
        """Token by token to text: what each adds to the spelling of the ones before it."""
        recent, told = list(prompt[-KNOWN:]), self._spelt(prompt[-KNOWN:])

        def spell(token: int) -> str:
            nonlocal recent, told
            recent = [*recent, token]
            text = self._spelt(recent)
            if text.endswith("\ufffd"):  # in the middle of a character
                return ""
            fresh = text[len(told) :].replace("\ufffd", "")  # bytes that make no character are left out
            recent = recent[-KNOWN:] if len(recent) > 4 * KNOWN else recent
            told = self._spelt(recent)
            return fresh

        return spell

    def _spelt(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def reading(self, rows: int) -> Decoding:
        return Decoding(self.model, rows)

    def windows(self, text: str) -> list[list[int]]:
        tokens, size = self.tokenizer(text)["input_ids"], min(self.context or WINDOW, WINDOW)
        return [tokens[start : start + size] for start in range(0, len(tokens), size)]

    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        sums = []
        for window in windows:
            given = torch.tensor([list(window)], device=self.model.device)
            read = self.model(input_ids=given, output_hidden_states=True, use_cache=False).hidden_states[-1]
            sums.append(read[0].double().sum(0).cpu().numpy())
        return np.stack(sums), np.array([float(len(window)) for window in windows])
