"""How a model of transformers may be read, found out by reading with it once it is loaded.

It decides the numbers' type, whether rows share a pass, whether a prompt is read in portions, and what modules keep
between passes. It assumes nothing of an architecture by its name: a model that is not known to be safe is read row by
row, each prompt at once, which is how generate() of the library reads. It knows models; it does not know texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tasks.folder import unusable
from tasks.generate.rows import ABSENT, ALONE, Habits, Kept, Row, Together, takes

DOUBLE = 64_000_000  # parameters up to which a model computes in float64
SHARED = {DynamicLayer, DynamicSlidingWindowLayer}  # layers of a cache that hold keys and values, and nothing else
MOVING = ("dynamic", "longrope")  # rotary positions that turn by the longest text that was read
SHORT, LONG = 5, 9  # tokens of the two texts that are read to try a model
OWN = frozenset(vars(nn.Module()))  # the attributes of every module
Place = tuple[nn.Module, str]


@torch.no_grad()
def found(model: PreTrainedModel) -> Habits:
    """The model's habits; it computes in the type that it serves in afterwards. Errors: ModelFailed."""
    before = _settled(model)
    moving = [module for module in model.modules() if _moves(module)]
    places = [place for place, value in _attributes(model).items() if not _same(value, before.get(place, ABSENT))]
    places += [place for place in before if place[0] in moving and place not in places]
    kept = Kept(places, [before.get(place, ABSENT) for place in places])
    alone = Habits(joins=False, parts=False, kept=kept, turns=_turns(moving))
    if places or moving or not _shared(model):
        return alone
    divided = _reads_in_parts(model, alone)
    return Habits(joins=divided and _reads_together(model, alone), parts=divided and not _windowed(model), kept=kept)


@contextmanager
def untouched(model: PreTrainedModel) -> Iterator[None]:
    """Leaves the model's modules as they were, whatever was read meanwhile."""
    before = _attributes(model)
    yield
    _restore(before)


def _restore(before: dict[Place, Any]) -> None:
    Kept([*before], [*before.values()]).set([*before.values()])


def _settled(model: PreTrainedModel) -> dict[Place, Any]:
    """Has a small model compute in float64 where it can (some mixtures of experts cannot), else in float32; the
    attributes of its modules before it read anything."""
    small = sum(value.numel() for value in model.parameters()) <= DOUBLE
    failure: Exception | None = None
    for kind in (torch.float64, torch.float32) if small else (None,):
        if kind is not None:
            model.to(kind)
        before = _attributes(model)
        try:
            if not Row(model, ALONE).read(_text(model, LONG)).isnan().any():
                return before
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the model's code raises
            failure = error
        _restore(before)
    told = str(failure or "its scores are not numbers")[:300]
    raise unusable(
        f"transformers {transformers.__version__} cannot run a {type(model).__name__} of these ({told})",
        "try its config.json and tensors with the library's own generate(), and repair them",
    ) from failure


def _text(model: PreTrainedModel, size: int) -> list[int]:
    """Tokens that differ, past the first ones of the vocabulary, which are often special."""
    count = int(model.get_input_embeddings().weight.shape[0])
    return [(7 + 13 * place) % count for place in range(size)]


def _attributes(model: PreTrainedModel) -> dict[Place, Any]:
    """Values of all modules' own attributes and buffers."""
    return {
        (module, name): _copied(value)
        for module in model.modules()
        for name, value in {**vars(module), **module._buffers}.items()
        if name not in OWN
    }


def _copied(value: Any) -> Any:
    """A copy of tensors, and of lists and dicts of them; anything else as it is."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return {key: _copied(each) for key, each in value.items()} if type(value) is dict else value


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return one is other or (isinstance(one, bool | int | float | str) and one == other)


def _moves(module: nn.Module) -> bool:
    kind = getattr(module, "rope_type", None)
    kinds = kind.values() if isinstance(kind, dict) else [kind]
    return any(moving in str(each) for each in kinds for moving in MOVING)


def _turns(moving: Sequence[Any]) -> int | None:
    """Tokens past which a longrope's positions turn by its long factors; `moving` are the modules of positions."""
    known: list[dict[str, Any]] = [module.config.rope_parameters for module in moving]
    each = [one for told in known for one in ([told] if "rope_type" in told else told.values())]
    limits = [one["original_max_position_embeddings"] for one in each if one.get("rope_type") == "longrope"]
    return min(limits, default=None)


def _shared(model: PreTrainedModel) -> bool:
    """By its signature and the layers of its cache, the model may read rows side by side."""
    if not takes(model) >= {"past_key_values", "attention_mask", "position_ids"}:
        return False
    if getattr(model.config.get_text_config(decoder=True), "attention_chunk_size", None):
        return False  # a chunk's borders are counted from the first place of the cache, not of the text
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and {type(layer) for layer in layers} <= SHARED


def _windowed(model: PreTrainedModel) -> bool:
    """Some models look past their window while they read a prompt (moshi), where a second portion could not."""
    return any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers)


def _reads_in_parts(model: PreTrainedModel, habits: Habits) -> bool:
    text, row = _text(model, LONG), Row(model, habits)
    try:
        row.read(text[:SHORT])
        return _alike(row.read(text[SHORT:]), Row(model, habits).read(text))
    except Exception:  # a model that only reads from the beginning, or one token
        return False


def _reads_together(model: PreTrainedModel, habits: Habits) -> bool:
    """A short and a long text, one token more of each."""
    texts = _text(model, LONG)[:SHORT], _text(model, LONG)
    rows = [Row(model, habits) for _ in texts]
    for row, text in zip(rows, texts, strict=True):
        row.read(text)
    try:
        together = Together(rows).read([texts[1][0], texts[1][1]])
    except Exception:
        return False
    return _alike(together, torch.cat([row.read([texts[1][number]]) for number, row in enumerate(rows)]))


def _alike(one: Tensor, other: Tensor) -> bool:
    """Scores that differ by rounding alone: by less than the root of the type's precision, in their own spread."""
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    apart, spread = (one.double() - other.double()).square().mean().sqrt(), other.double().std()
    return bool(apart <= tolerance * spread)
