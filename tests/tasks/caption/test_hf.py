"""Captioners of Hugging Face's form: each class as a tiny checkpoint at random, through the real loading code.

`make test` tries those of QUICK, `make test-checkpoints` all.
"""

import json

import pytest
import torch
from PIL import Image
from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

from tasks.algorithm import Call
from tasks.caption import Result
from tasks.caption.hf import Model
from tasks.errors import Canceled, ModelFailed, UnsupportedMedia
from tests.tasks.caption.checkpoints import MADE, QUESTION, florence2, llava, vit_gpt2

QUICK = ("florence2", "smolvlm", "vit-gpt2")
TOKENS = 6
OURS = {"nothing_said", "caption_cut", "question_guessed"}


def saved(make, folder, seed=4):
    """The network as it was made and saved, its parts, how it is asked by hand, and the tokens before a caption."""
    torch.manual_seed(seed)
    model, parts, text, before = make(folder)
    with torch.no_grad():
        for value in model.parameters():  # so that what is said depends on the picture
            value.mul_(4) if value.dim() > 1 else value
    for part in (model, *parts):
        part.save_pretrained(folder)
    return model.eval(), parts, text, before


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=() if n in QUICK else pytest.mark.checkpoints) for n in sorted(MADE)]
)
def made(request, tmp_path_factory):
    """(network, parts, text, before), the folder, and the captioner that was loaded from it."""
    folder = tmp_path_factory.mktemp(request.param)
    known = saved(MADE[request.param], folder)
    return known, folder, Model.load(folder, "cpu")


@pytest.fixture
def picture(tmp_path):
    Image.radial_gradient("L").resize((50, 40)).convert("RGB").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def asked(known, picture):
    """What the processor makes of the picture, by hand."""
    _, parts, text, _ = known
    opened = Image.open(picture)
    if text == "chat":
        content = [{"type": "image", "image": opened}, {"type": "text", "text": QUESTION}]
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        return parts[0].apply_chat_template([{"role": "user", "content": content}], **options)
    return parts[0](images=opened, **({} if text is None else {"text": text}), return_tensors="pt")


def generated(known, picture, beams):
    """What generate() of the network that was made says: the texts, and the sum of ln p of each one's tokens."""
    model, parts, _, before = known
    given = asked(known, picture)
    found = model.generate(
        **given,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=TOKENS,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    said = found.sequences[:, given["input_ids"].shape[1] if before is None else before :]
    tokenizer = getattr(parts[0], "tokenizer", parts[-1])
    if beams > 1:
        sure = found.sequences_scores.tolist()
    else:
        steps = [scores[0].log_softmax(-1) for scores in found.scores]
        sure = [sum(step[token].item() for step, token in zip(steps, said[0], strict=True))]
    return [text.strip() for text in tokenizer.batch_decode(said, skip_special_tokens=True)], sure


@pytest.mark.parametrize("beams", [1, 3])
def test_it_says_what_generate_says(made, picture, beams):
    """Every alternative, in order, with its log-probability; an empty caption has a warning."""
    known, _, captioner = made
    call = Call.of("caption", image=picture, params={"beams": beams, "alternatives": 2, "max_tokens": TOKENS})
    (result,) = captioner.run([call])
    told = Result.model_validate(result.value)
    texts, sure = generated(known, picture, beams)
    assert [one.caption for one in told.alternatives] == texts
    if known[0].generation_config.forced_eos_token_id is None:  # a forced token costs nothing in generate()'s own sum
        assert [one.logprob for one in told.alternatives] == pytest.approx(sure, abs=1e-3)
    assert told.caption == told.alternatives[0].caption and told.quality.width == 50
    assert bool(told.caption) != ("nothing_said" in [one.code for one in told.warnings])
    assert [path.name for path in result.files] == ["caption.json"]
    assert json.loads(result.files[0].read_text())["warnings"] == result.value["warnings"]


def test_a_canceled_call_stops_between_two_tokens(made, picture):
    looks = []

    def canceled():
        looks.append(True)
        return len(looks) > 3

    call = Call.of("caption", image=picture, params={"max_tokens": 30})
    (answer,) = made[2].run([Call(call.inputs, call.params, call.workdir, canceled=canceled)])
    assert isinstance(answer, Canceled) and len(looks) == 4 and not list(call.workdir.iterdir())


@pytest.fixture(scope="module")
def florence(tmp_path_factory):
    """A Florence-2 that says words, and the captioner."""
    folder = tmp_path_factory.mktemp("florence")
    return saved(florence2, folder, seed=29), Model.load(folder, "cpu")


@pytest.mark.parametrize("name", ["florence2", "vit-gpt2"])
def test_log_probabilities_are_those_of_the_tokens(name, florence, tmp_path, picture):
    """The sum over the tokens of the greedy caption, by a forward pass over all of it at once."""
    if name == "florence2":
        known, captioner = florence
    else:
        known, captioner = saved(vit_gpt2, tmp_path), Model.load(tmp_path, "cpu")
    given = asked(known, picture)
    with torch.no_grad():
        tokens = known[0].generate(**given, do_sample=False, num_beams=1, max_new_tokens=TOKENS)
        logits = known[0](**given, decoder_input_ids=tokens[:, :-1]).logits.log_softmax(dim=-1)
    expected = logits.gather(2, tokens[:, 1:, None]).sum().item()
    (result,) = captioner.run([Call.of("caption", image=picture, params={"beams": 1, "max_tokens": TOKENS})])
    assert result.value["alternatives"][0]["logprob"] == pytest.approx(expected, abs=1e-3)


def codes(captioner, picture, **params):
    (result,) = captioner.run([Call.of("caption", image=picture, params=params)])
    return {one["code"] for one in result.value["warnings"]} & OURS


def test_a_caption_that_breaks_off_says_so(florence, picture):
    """Three tokens are no sentence, although this checkpoint forces an end behind them."""
    assert codes(florence[1], picture, beams=1, max_tokens=3) == {"caption_cut"}


def test_a_caption_without_a_word_says_so(florence, picture):
    """The model may say nothing but its end."""
    settings = florence[1].model.generation_config
    settings.suppress_tokens = [n for n in range(florence[1].model.config.text_config.vocab_size) if n != 2]
    try:
        assert codes(florence[1], picture, beams=1) == codes(florence[1], picture, beams=3) == {"nothing_said"}
    finally:
        settings.suppress_tokens = None


def test_a_question_that_is_guessed_says_so(tmp_path, picture):
    """VipLLaVA without a chat template; a LLaVA is asked in its paper's words."""
    saved(lambda folder: llava(folder, None), tmp_path)
    assert "question_guessed" not in codes(Model.load(tmp_path, "cpu"), picture, max_tokens=2)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "vipllava",
        "vision_feature_layers": [-1],
        "architectures": ["VipLlavaForConditionalGeneration"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink()
    VipLlavaForConditionalGeneration(VipLlavaConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    assert "question_guessed" in codes(Model.load(tmp_path, "cpu"), picture, max_tokens=2)


def test_a_captioner_that_cannot_be_asked_is_refused_when_it_is_loaded(tmp_path):
    """A LLaVA whose template forgets the picture: the sentence says what to look at."""
    saved(lambda folder: llava(folder, "{{ messages[0]['role'] }}"), tmp_path)
    with pytest.raises(ModelFailed, match="fails at a first picture.*; put the processor and the chat template"):
        Model.load(tmp_path, "cpu")


def test_a_bad_picture_is_the_callers_error(florence, tmp_path):
    (tmp_path / "text.png").write_bytes(b"no picture at all")
    (answer,) = florence[1].run([Call.of("caption", image=tmp_path / "text.png")])
    assert isinstance(answer, UnsupportedMedia)


def test_pickled_weights_are_not_loaded(tmp_path):
    """A folder whose weights are pytorch_model.bin is refused."""
    model, parts, _, _ = saved(vit_gpt2, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFailed, match="safetensors"):
        Model.load(tmp_path, "cpu")


def test_without_weights_the_model_says_what_is_missing(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(ModelFailed, match=r"config\.json"):
            Model.load(folder, "cpu")
