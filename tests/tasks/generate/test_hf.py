"""Any causal language model of transformers: the library's own text, the same in a batch, stops, chats, refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from tasks.algorithm import Call, load
from tasks.errors import Canceled, InvalidInput, ModelFailed, TooLarge
from tasks.generate.hf import Model
from tasks.registry import Registry

pytestmark = pytest.mark.checkpoints

STORIES = Registry.default().model("generate", "stories").weights_path()
PUBLISHED = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)  # llama2.c, doc/stories260K.md
PROMPTS = ("Once upon a time", "Lily and Tom", "The big dog was sad. He", "é—")
CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "A"}]


@pytest.fixture(scope="module")
def model():
    return load("generate", "stories")


def call(prompt="Once upon a time", **params) -> Call:
    return Call.of("generate", {"max_tokens": 30, **params}, prompt=prompt)


def text(result) -> str:
    return result.value["text"]


def made(network, folder, **tokenizer) -> Model:
    """A network of random weights, saved with the stories' tokenizer and read again."""
    torch.manual_seed(3)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.3)
    network.save_pretrained(folder)
    spelling = AutoTokenizer.from_pretrained(STORIES)
    for name, value in tokenizer.items():
        setattr(spelling, name, value)
    spelling.save_pretrained(folder)
    model = Model.load(folder, "cpu")
    model._speller = lambda prompt: lambda token: f"{token} "  # babble is compared as numbers
    model.ends = frozenset()
    return model


def greedy(model: Model, prompt: list[int], count: int) -> str:
    """What generate() of transformers writes, as `made` spells it."""
    whole = model.model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=count, min_new_tokens=count, eos_token_id=None
    )
    return "".join(f"{token} " for token in whole[0, len(prompt) :].tolist())


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=512, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    )


def mistral() -> MistralForCausalLM:
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=512,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=6,
            max_position_embeddings=64,
        )
    )


def test_it_tells_the_published_story(model):
    """Greedy, word for word as the model's authors print it."""
    (result,) = model.run([call(temperature=0, max_tokens=120)])
    assert ("Once upon a time" + text(result)).startswith(PUBLISHED)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_is_the_librarys_own(model, prompt):
    """generate() of transformers gives the same tokens, spelt by its own decoder."""
    given = model.tokenizer(prompt, return_tensors="pt").input_ids
    expected = model.model.generate(given, do_sample=False, max_new_tokens=40, temperature=None, top_p=None)
    (result,) = model.run([call(prompt, temperature=0, max_tokens=40)])
    whole = model.tokenizer.decode(expected[0], skip_special_tokens=True)
    before = model.tokenizer.decode(given[0], skip_special_tokens=True)
    assert text(result).rstrip("\ufffd") == whole[len(before) :].rstrip("\ufffd")


def mixed_calls() -> list[Call]:
    sorts = (
        {"temperature": 0},
        {"top_k": 5},
        {"top_p": 0.7, "temperature": 1.3},
        {"stop": ["dog", ". "]},
        {"n": 3},
        {"repetition_penalty": 1.5},
    )
    return [
        call(PROMPTS[n % len(PROMPTS)], seed=n, max_tokens=3 + 40 * (n % 4) // 3, **sorts[n % len(sorts)])
        for n in range(9)
    ]


@pytest.fixture(scope="module")
def alone(model):
    return [model.run([each])[0].value for each in mixed_calls()]


@pytest.mark.parametrize("order", [range(9), range(8, -1, -1), (4, 7), (7, 2, 0, 7, 7)])
def test_a_call_gives_the_same_text_alone_and_in_any_batch(model, alone, order):
    """Same seed, same choices, finish reasons and usage, whatever runs beside it and in whatever order."""
    calls = mixed_calls()
    results = model.run([Call(calls[n].inputs, calls[n].params, call().workdir) for n in order])
    assert [result.value for result in results] == [alone[n] for n in order]


def test_the_model_ends_its_own_text(model):
    """At its end-of-text token, which is no part of the text."""
    (result,) = model.run([call(temperature=0, max_tokens=500)])
    assert result.value["finish_reason"] == "stop" and result.value["usage"]["completion_tokens"] < 500
    assert "<s>" not in text(result) and text(result).rstrip().endswith((".", "!", '"'))


def test_half_a_stop_text_never_leaks(model):
    """Neither in the text nor in a report, whatever tokens the stop text is spread over."""
    free = text(model.run([call(temperature=0, max_tokens=60)])[0])
    stop, shown = free[33:45], []
    asked = call(temperature=0, max_tokens=60, stop=[stop])
    (result,) = model.run([Call(asked.inputs, asked.params, asked.workdir, lambda share, tail: shown.append(tail))])
    assert text(result) == free[: free.index(stop)] and result.value["finish_reason"] == "stop"
    assert shown and all(text(result).startswith(tail) for tail in shown)


def test_a_prompt_over_the_context_is_refused_with_its_limit_or_cut_as_asked(model):
    """The context is 512 tokens: a prompt has room for 511, and what is written ends where it is full."""
    long = "The dog ran. " * 300
    refused, cut = model.run([call(long), call(long, on_long_prompt="cut")])
    assert isinstance(refused, TooLarge) and "511" in refused.detail
    assert cut.value["usage"] == {"prompt_tokens": 511, "completion_tokens": 1}
    assert cut.value["finish_reason"] == "length"
    assert model.prompt(call(long, on_long_prompt="cut")).tokens[0] == model.tokenizer.bos_token_id


def test_a_canceled_call_leaves_and_the_others_go_on(model):
    """Within four tokens of the answer being yes."""
    asked = []
    victim = call(seed=1, max_tokens=400, n=2, temperature=0)
    victim = Call(victim.inputs, victim.params, victim.workdir, canceled=lambda: asked.append(None) or len(asked) > 3)
    results = model.run([victim, call(seed=2)])
    assert isinstance(results[0], Canceled) and len(asked) == 4
    assert results[1].value == model.run([call(seed=2)])[0].value


def test_messages_become_the_templates_text(tmp_path):
    """As the prompt would be that a person writes out; special tokens are the template's business."""
    model = made(gpt2(), tmp_path, chat_template=CHAT)
    (said,) = model.run([Call.of("generate", {"temperature": 0, "max_tokens": 8}, messages=TURNS)])
    wanted = model.tokenizer("user: Hi\nassistant: Yes?\nuser: A\nassistant:", add_special_tokens=False).input_ids
    assert said.value["usage"]["prompt_tokens"] == len(wanted)
    assert text(said) == greedy(model, wanted, 8)


def test_messages_without_a_template_are_refused(model):
    """It says what to give instead."""
    (refused,) = model.run([Call.of("generate", messages=[{"role": "user", "content": "Hello"}])])
    assert isinstance(refused, InvalidInput) and "chat template" in refused.detail


@pytest.mark.parametrize("network", [gpt2, mistral])
def test_other_sorts_of_network_write_the_librarys_tokens_too(network, tmp_path):
    """Places that are learned and not turned; keys and values of which only the last are kept. Three side by side."""
    model = made(network(), tmp_path)
    results = model.run([call(prompt, temperature=0, max_tokens=12) for prompt in PROMPTS[:3]])
    assert [text(result) for result in results] == [
        greedy(model, model.tokenizer(prompt).input_ids, 12) for prompt in PROMPTS[:3]
    ]


def test_only_safetensors_are_read_and_no_code_is_run(tmp_path):
    """Weights that are pickled, and a config that names its own code."""
    shutil.copytree(STORIES, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ModelFailed, match="only safetensors are loaded"):
        Model.load(tmp_path / "pickled", "cpu")
    shutil.copytree(STORIES, tmp_path / "coded")
    config = json.loads((STORIES / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (tmp_path / "coded" / "config.json").write_text(json.dumps(config))
    (tmp_path / "coded" / "mine.py").write_text("raise SystemExit('code of a checkpoint was run')")
    with pytest.raises(ModelFailed, match="Python code in the folder, which is never run"):
        Model.load(tmp_path / "coded", "cpu")
    with pytest.raises(ModelFailed, match="config.json"):
        Model.load(tmp_path, "cpu")


def test_an_embedding_is_the_mean_of_the_last_layer(model):
    """Of length 1, by the library's hidden states; of a long text, over all its windows."""
    told, long = model.run([call("The dog ran.", mode="embed"), call("The dog ran. " * 300, mode="embed")])
    given = model.tokenizer("The dog ran.", return_tensors="pt").input_ids
    with torch.no_grad():
        mean = model.model(given, output_hidden_states=True).hidden_states[-1][0].mean(0).numpy()
    np.testing.assert_allclose(told.value["embedding"], mean / np.linalg.norm(mean), atol=1e-5)
    assert np.linalg.norm(long.value["embedding"]) == pytest.approx(1, abs=1e-5)
    assert long.value["usage"]["prompt_tokens"] > 512
