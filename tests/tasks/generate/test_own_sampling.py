"""A checkpoint's own sampling: its generation_config chooses where the caller says nothing, as in generate()."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tasks.generate import Params
from tasks.generate.hf import Model
from tests.tasks.generate.architectures import STORIES

pytestmark = pytest.mark.checkpoints

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def stories() -> Model:
    return Model.load(STORIES, "cpu")


@pytest.fixture
def model(stories):
    """make(**fields): the stories' model, whose generation_config says so much."""
    before = stories.own

    def make(**fields) -> Model:
        stories.model.generation_config = GenerationConfig(**{"bos_token_id": 1, "eos_token_id": 2, **fields})
        remade = Model(stories.model, stories.tokenizer, stories.habits)
        stories.own, stories.ends = remade.own, remade.ends
        return stories

    yield make
    stories.own = before
    stories.model.generation_config = before.config


def result(model: Model, prompt: str = PROMPT, **params) -> dict:
    (outcome,) = model.run([Call.of("generate", {"max_tokens": 24, **params}, prompt=prompt)])
    return outcome.value


def text(model: Model, **params) -> str:
    return result(model, **params)["text"]


@pytest.mark.parametrize(
    ("fields", "same_as"),
    [
        ({}, {}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 0.3, "temperature": 1.5}, {"top_p": 0.3, "temperature": 1.5}),
        ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
        ({"do_sample": True}, {"temperature": 1.0, "top_k": 50}),
        ({"do_sample": True, "top_k": 3}, {"temperature": 1.0, "top_k": 3}),
        ({"do_sample": False}, {"temperature": 0}),
        ({"do_sample": False, "repetition_penalty": 1.5}, {"temperature": 0, "repetition_penalty": 1.5}),
    ],
    ids=str,
)
def test_values_that_the_caller_leaves_out_are_the_checkpoints(model, fields, same_as):
    """The text is that of a caller who gives these values."""
    plain = text(model(), **same_as)
    assert text(model(**fields)) == plain
    assert result(model(**fields))["warnings"] == []


def test_a_value_that_the_caller_gives_wins(model):
    given = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
    plain = text(model(), **given)
    own = model(do_sample=True, temperature=0.1, top_k=2, top_p=0.2, repetition_penalty=2.0)
    assert text(own, **given) == plain
    assert text(own) != plain


HONOURED = [  # by 317 the story's girl has her name, 426 is a full stop
    {"no_repeat_ngram_size": 1},
    {"suppress_tokens": [317, 376]},
    {"begin_suppress_tokens": [432]},
    {"bad_words_ids": [[317], [376, 298]]},
    {"min_new_tokens": 20, "eos_token_id": [2, 426]},
    {"min_length": 20, "eos_token_id": [2, 426]},
    {"sequence_bias": [[[317], -10.0]]},
    {"forced_eos_token_id": 2},
    {"exponential_decay_length_penalty": (3, 1.5)},
]


@pytest.mark.parametrize("fields", HONOURED, ids=str)
def test_what_else_it_says_of_tokens_is_done_as_the_library_does(model, fields):
    """Greedily, the tokens of generate() under the same generation_config."""
    own = model(**fields)
    count = 30
    given = own.tokenizer(PROMPT, return_tensors="pt").input_ids
    whole = own.model.generate(given, do_sample=False, max_new_tokens=count)
    wanted = own.tokenizer.decode(whole[0], skip_special_tokens=True)[len(PROMPT) :]
    assert text(own, temperature=0, max_tokens=count).strip() == wanted.strip().removesuffix(
        "." * ("eos_token_id" in fields)
    )
    assert text(own, temperature=0, max_tokens=count) != text(model(), temperature=0, max_tokens=count)


@pytest.mark.parametrize(
    "fields", [{"min_p": 0.2}, {"typical_p": 0.5}, {"epsilon_cutoff": 0.05}, {"eta_cutoff": 0.05}], ids=str
)
def test_cuts_of_the_distribution_are_the_librarys(model, fields):
    """The tokens that may be chosen, and their shares, are those of the library's own processors."""
    own = model(do_sample=True, temperature=1.3, top_k=20, **fields)
    tokens = own.tokenizer(PROMPT).input_ids
    scores = own.model(torch.tensor([tokens])).logits[0, -1].detach().numpy()
    left, steer = own.own.steer(own.own.params(Params()), tokens, 10, own.ends)
    assert (left.temperature, left.top_k, left.top_p, left.repetition_penalty) == (1, 0, 1, 1)
    told = own.model.generate(
        torch.tensor([tokens]), max_new_tokens=1, output_scores=True, return_dict_in_generate=True
    ).scores[0][0]
    torch.testing.assert_close(torch.tensor(steer([], scores)).float(), told, atol=1e-4, rtol=1e-4)
    assert 0 < torch.isfinite(told).sum() < 20
    assert text(own, seed=1) == text(own, seed=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_beams": 4},
        {"guidance_scale": 1.5},
        {"penalty_alpha": 0.6},
        {"temperature": 90.0},
        {"top_p": 0.0},
        {"eos_token_id": ["x"]},
    ],
    ids=str,
)
def test_what_is_not_done_is_a_warning(model, fields):
    """It names the field; the text is chosen without it."""
    plain = text(model())
    told = result(model(**fields))
    (warned,) = told["warnings"]
    assert warned["code"] == "sampling_ignored" and next(iter(fields)) in warned["detail"]
    assert told["text"] == plain


def test_a_stop_text_of_the_checkpoint_ends_the_text(model):
    free = text(model(), temperature=0)
    assert text(model(stop_strings=["little"]), temperature=0) == free[: free.index("little")]


def test_a_folders_file_is_read(tmp_path):
    """generation_config.json beside the weights, with end tokens of its own; the same in a batch, n times."""
    folder = tmp_path / "stories"
    shutil.copytree(STORIES, folder)
    own = (
        json.loads((STORIES / "generation_config.json").read_text())
        if (STORIES / "generation_config.json").exists()
        else {}
    )
    own |= {"do_sample": True, "temperature": 0.01, "no_repeat_ngram_size": 3, "eos_token_id": [2, 426]}
    (folder / "generation_config.json").write_text(json.dumps(own))
    model = Model.load(Path(folder), "cpu")
    assert model.ends == {2, 426}
    (alone,) = [result(model, n=3)]
    calls = [Call.of("generate", {"max_tokens": 24, "n": 3}, prompt=prompt) for prompt in ("The dog", PROMPT)]
    assert model.run(calls)[1].value == alone
    assert len({choice["text"] for choice in alone["choices"]}) == 1  # so cold that the likeliest is taken


def test_a_prompt_in_another_script_is_warned_of(model):
    """Its characters are unknown to the vocabulary; bytes that a vocabulary spells are not."""
    own = model()
    before = own.tokenizer.unk_token
    assert result(own)["warnings"] == []
    own.tokenizer.unk_token = own.tokenizer.convert_ids_to_tokens(own.tokenizer(PROMPT).input_ids[2])
    (warned,) = result(own)["warnings"]
    assert warned["code"] == "out_of_domain" and "1 of the prompt's" in warned["detail"]
    own.tokenizer.unk_token = own.tokenizer.bos_token  # which stands before every prompt
    assert result(own)["warnings"] == []
    own.tokenizer.unk_token = before


def test_a_prompt_that_is_cut_is_warned_of(model):
    own = model()
    long = "The dog ran. " * 300
    (warned,) = result(own, long, on_long_prompt="cut")["warnings"]
    assert warned["code"] == "prompt_cut" and "the last 511" in warned["detail"]


@pytest.mark.parametrize("content", ["{", "[]", "\x00", '"greedy"'])
def test_a_generation_config_that_cannot_be_read_is_refused(tmp_path, content):
    """transformers would go on without it, and choose tokens otherwise than the checkpoint says."""
    shutil.copytree(STORIES, tmp_path / "stories")
    (tmp_path / "stories" / "generation_config.json").write_text(content)
    with pytest.raises(ModelFailed, match="generation_config.json is not"):
        Model.load(tmp_path / "stories", "cpu")


def test_a_generation_config_that_forbids_every_token_is_told(model):
    """Not a text of whatever is left."""
    with pytest.raises(ModelFailed, match="forbids every token"):
        model(suppress_tokens=list(range(512))).run([Call.of("generate", {"max_tokens": 3}, prompt=PROMPT)])
