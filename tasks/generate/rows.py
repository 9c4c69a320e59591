"""Texts that a causal language model of transformers reads: each row alone, or all rows in one pass.

A row alone is read as the library's generate() reads it: the model's own prepare_inputs_for_generation makes the
inputs, so that positions, masks and recurrent states are those that the model was written for. It knows caches; it does
not know texts or tokenizers.

Rows share a pass only where nothing of one can reach another: keys and values of attention layers alone (SHARED), with
positions and a mask given by hand. tasks/generate/habits.py decides that when the model is loaded.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from tasks.folder import unusable
from tasks.generate.writing import Reading

GRID = 2.0**-20  # of scores
PORTION = 512  # tokens of a prompt read at once, between two looks at whether the call was canceled
ABSENT = ...  # the value of an attribute that a module does not have yet; a copy of it is itself


class Kept:
    """What modules of the model remember from one pass to the next in attributes of their own, outside any cache."""

    def __init__(self, places: Sequence[tuple[nn.Module, str]], blank: Sequence[Any]) -> None:
        """`blank`: their values before anything was read."""
        self.places, self.blank = places, blank

    def begin(self) -> None:
        """As before anything was read."""
        self.set(copy.deepcopy(self.blank))

    def values(self) -> list[Any]:
        return [copy.deepcopy(getattr(*place, ABSENT)) for place in self.places]

    def set(self, values: Sequence[Any]) -> None:
        for (module, name), value in zip(self.places, values, strict=True):
            if value is not ABSENT:
                setattr(module, name, value)
            elif hasattr(module, name):
                delattr(module, name)


@dataclass(frozen=True)
class Habits:
    """How a model may be read.

    joins    rows may share a pass
    parts    a prompt may be read in portions
    kept     what each row must find in the modules as it left it
    turns    tokens past which rotary positions turn otherwise (longrope), so that all is read again; None: never
    """

    joins: bool
    parts: bool
    kept: Kept
    turns: int | None = None


ALONE = Habits(joins=False, parts=False, kept=Kept([], []))


def takes(model: PreTrainedModel) -> frozenset[str]:
    """The names that the model's forward takes."""
    return frozenset(inspect.signature(model.forward).parameters)


class Row:
    """One text, with a cache of its own."""

    def __init__(self, model: PreTrainedModel, habits: Habits) -> None:
        self.model, self.habits, self.takes = model, habits, takes(model)
        self.tokens = torch.zeros(1, 0, dtype=torch.int64, device=model.device)
        self._begin()

    def _begin(self) -> None:
        """Nothing has been read. Models without a cache of the library's make one of their own, or read all again."""
        self.carried: dict[str, Any] = {"use_cache": True}
        if "logits_to_keep" in self.takes:
            self.carried["logits_to_keep"] = 1
        self.state = copy.deepcopy(self.habits.kept.blank)
        named = self.takes & {"past_key_values", "cache_params"}
        if named and self.model._supports_default_dynamic_cache():
            self.carried[next(iter(named))] = DynamicCache(config=self.model.config)

    @property
    def cache(self) -> DynamicCache:
        cache: DynamicCache = self.carried["past_key_values"]
        return cache

    @property
    def size(self) -> int:
        return self.tokens.shape[1]

    def copy(self) -> "Row":
        other = copy.copy(self)
        other.carried, other.state = copy.deepcopy(self.carried), copy.deepcopy(self.state)
        return other

    def read(self, tokens: Sequence[int]) -> Tensor:
        """(1, vocabulary): scores after the last of these tokens."""
        before, turns = self.size, self.habits.turns
        self.tokens = torch.cat([self.tokens, self.tokens.new_tensor([list(tokens)])], dim=1)
        if turns is not None and before <= turns < self.size:
            before = 0
            self._begin()
        whole = {
            "attention_mask": torch.ones_like(self.tokens),
            "position_ids": torch.arange(self.size, device=self.tokens.device)[None],
        }
        given = self.model.prepare_inputs_for_generation(
            self.tokens,
            next_sequence_length=len(tokens) if before else None,
            is_first_iteration=not before,
            **{name: value for name, value in whole.items() if name in self.takes},
            **self.carried,
        )
        self.habits.kept.set(self.state)
        read = self.model(**given, return_dict=True)
        self.state = self.habits.kept.values()
        self.carried = self.model._update_model_kwargs_for_generation(read, self.carried)
        scores: Tensor = read.logits[:, -1]
        return scores


class Together:
    """Rows in one cache, shorter ones padded on the left; the mask (rows, places) says where."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.model, self.takes = rows[0].model, rows[0].takes
        sizes = torch.tensor([row.size for row in rows])
        longest = int(sizes.max())
        self.mask = (torch.arange(longest) >= longest - sizes[:, None]).long().to(self.model.device)
        self.cache = DynamicCache(config=self.model.config)
        for number in range(len(rows[0].cache.layers)):
            layers = [row.cache.layers[number] for row in rows]
            keys, values = (
                torch.cat([_padded(getattr(layer, part), longest) for layer in layers]) for part in ("keys", "values")
            )
            self.cache.update(keys, values, number)

    def read(self, tokens: Sequence[int]) -> Tensor:
        """(rows, vocabulary): scores after one token more of each row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        given = {
            "input_ids": self.mask.new_tensor(list(tokens))[:, None],
            "attention_mask": self.mask,
            "position_ids": (self.mask.sum(1) - 1)[:, None],
            "logits_to_keep": 1,
        }
        known = {name: value for name, value in given.items() if name in self.takes}
        scores: Tensor = self.model(past_key_values=self.cache, use_cache=True, **known).logits[:, -1]
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        kept = self.mask.new_tensor(list(rows))
        self.mask = self.mask[kept]
        self.cache.batch_select_indices(kept)


def _padded(part: Tensor, size: int) -> Tensor:
    return nn.functional.pad(part, (0, 0, size - part.shape[2], 0))


class Decoding(Reading):
    """Rows that are read alone until all prompts are read, and then together, where the model allows it."""

    def __init__(self, model: PreTrainedModel, habits: Habits, rows: int) -> None:
        self.habits = habits
        self.alone = [Row(model, habits) for _ in range(rows)]
        self.together: Together | None = None

    def portions(self, ahead: Sequence[int]) -> list[int]:
        unread = (
            None
            if self.together
            else next((row for row, tokens in enumerate(ahead) if tokens > 1 or not self.alone[row].size), None)
        )
        if unread is None:
            return [1] * len(ahead)
        portion = min(ahead[unread], PORTION) if self.habits.parts else ahead[unread]
        return [portion * (row == unread) for row in range(len(ahead))]

    def read(self, tokens: Sequence[Sequence[int]], speakers: Sequence[int]) -> np.ndarray:
        reading = [row for row, given in enumerate(tokens) if given]
        if self.together is None and len(reading) > 1 and self.habits.joins:
            self.together, self.alone = Together(self.alone), []
        if self.together is None:
            logits = torch.cat([self.alone[row].read(tokens[row]) for row in reading])
        else:
            logits = self.together.read([token for (token,) in tokens])
        if not speakers:
            return np.empty((0, 0))
        scores: np.ndarray = (torch.round(logits.double() / GRID) * GRID).cpu().numpy()
        if np.isnan(scores).any():
            raise unusable("the model's scores are not numbers", "serve it in a wider type, such as float32")
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        if self.together is not None:
            self.together.keep(rows)
        else:
            self.alone = [
                self.alone[row].copy() if row in rows[:place] else self.alone[row] for place, row in enumerate(rows)
            ]
