"""Captioners of Hugging Face's form: each class as a tiny checkpoint at random, through the real loading code."""

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

from tasks.algorithm import Call
from tasks.caption import Result
from tasks.caption.hf import Model
from tasks.errors import Canceled, ModelFailed, UnsupportedMedia

pytestmark = pytest.mark.checkpoints

SIDE, SIZE = 32, 16
SIZES = {"hidden_size": SIZE, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = ["a", "cat", "dog", "above", "two", "and", "the", "red", "car", "tree"]
CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}"
    "{% endfor %}{% endfor %}"
)


def bert_tokenizer(folder):
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return BertTokenizer(str(path))


def word_tokenizer(**options):
    """Of whole words, as a fast tokenizer."""
    made = Tokenizer(
        models.WordLevel(
            {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<image>", *WORDS])}, unk_token="<unk>"
        )
    )
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", **options
    )


def blip(folder):
    tokenizer = bert_tokenizer(folder)
    vision = {**SIZES, "image_size": SIDE, "patch_size": 16}
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": SIZE,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    return (
        BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)),
        [BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer)],
    )


def git(folder):
    tokenizer = bert_tokenizer(folder)
    config = GitConfig(
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 16},
        **SIZES,
        vocab_size=len(tokenizer),
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    sizes = {"height": SIDE, "width": SIDE}
    return GitForCausalLM(config), [GitProcessor(CLIPImageProcessor(size=sizes, crop_size=sizes), tokenizer)]


def vit_gpt2(folder):
    tokenizer = word_tokenizer()
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**SIZES, image_size=SIDE, patch_size=16),
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=SIZE,
            n_layer=2,
            n_head=2,
            add_cross_attention=True,
            bos_token_id=1,
            eos_token_id=2,
        ),
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2)
    return model, [ViTImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer]


def llava(folder):
    tokenizer = word_tokenizer(extra_special_tokens={"image_token": "<image>"})
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, image_size=SIDE, patch_size=16, projection_dim=SIZE),
        text_config=LlamaConfig(**SIZES, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    sizes = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessor(size=sizes, crop_size=sizes),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        num_additional_image_tokens=1,
    )
    return LlavaForConditionalGeneration(config), [processor]


MADE = {"blip": blip, "git": git, "vit-gpt2": vit_gpt2, "llava": llava}


@pytest.fixture(scope="module", params=sorted(MADE))
def made(request, tmp_path_factory):
    """The model as it was made, and the folder it was saved to."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    model, parts = MADE[request.param](folder)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return model.eval(), parts, folder


@pytest.fixture
def picture(tmp_path):
    Image.radial_gradient("L").resize((50, 40)).convert("RGB").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def generated(made, picture, **options):
    """What generate() of the model that was made says, called by hand: the tokens behind the question."""
    model, parts, _ = made
    opened = Image.open(picture)
    if getattr(parts[0], "chat_template", None):
        asked = parts[0](images=opened, text="<image> Describe this picture in one sentence.", return_tensors="pt")
    else:
        asked = parts[0](images=opened, return_tensors="pt")
    with torch.no_grad():
        found = model.generate(**asked, do_sample=False, **options)
    return found[:, asked["input_ids"].shape[1] if "input_ids" in asked else 0 :]


@pytest.mark.parametrize("beams", [1, 3])
def test_it_says_what_generate_says(made, picture, beams):
    """Every alternative, in order, of the checkpoint read from disk is that of the model in memory."""
    model, parts, folder = made
    call = Call.of("caption", image=picture, params={"beams": beams, "alternatives": 2, "max_tokens": 6})
    (result,) = Model.load(folder, "cpu").run([call])
    tokenizer = getattr(parts[0], "tokenizer", parts[-1])
    expected = generated(
        made, picture, num_beams=beams, num_return_sequences=beams, max_new_tokens=6, length_penalty=0.0
    )
    told = Result.model_validate(result.value)
    assert [one.caption for one in told.alternatives] == [
        text.strip() for text in tokenizer.batch_decode(expected, skip_special_tokens=True)
    ]
    assert told.caption == told.alternatives[0].caption and told.quality.width == 50
    assert [path.name for path in result.files] == ["caption.json"]


def test_a_wider_beam_finds_nothing_less_likely(made, picture):
    """Log-probabilities are real ones: best first, and the best of four beams is at least the greedy one's."""
    model = Model.load(made[2], "cpu")
    asked = [Call.of("caption", image=picture, params={"beams": n, "max_tokens": 5}) for n in (1, 4)]
    (greedy,), wide = ([one["logprob"] for one in result.value["alternatives"]] for result in model.run(asked))
    assert wide == sorted(wide, reverse=True) and wide[0] >= greedy - 1e-4 and greedy < 0


def test_a_canceled_call_stops_between_two_tokens(made, picture):
    asked = []

    def canceled():
        asked.append(True)
        return len(asked) > 3

    call = Call.of("caption", image=picture, params={"max_tokens": 30})
    (answer,) = Model.load(made[2], "cpu").run([Call(call.inputs, call.params, call.workdir, canceled=canceled)])
    assert isinstance(answer, Canceled) and len(asked) == 4 and not list(call.workdir.iterdir())


def test_a_bad_picture_is_the_callers_error(made, tmp_path):
    (tmp_path / "text.png").write_bytes(b"no picture at all")
    (answer,) = Model.load(made[2], "cpu").run([Call.of("caption", image=tmp_path / "text.png")])
    assert isinstance(answer, UnsupportedMedia)


def test_log_probabilities_are_those_of_the_tokens(tmp_path, picture):
    """Of ViT + GPT-2: the sum over the tokens of the greedy caption, by a forward pass over all of it at once."""
    torch.manual_seed(0)
    model, parts = vit_gpt2(tmp_path)
    for part in (model, *parts):
        part.save_pretrained(tmp_path)
    tokens = generated((model.eval(), parts, None), picture, num_beams=1, max_new_tokens=6)
    with torch.no_grad():
        logits = model(
            pixel_values=parts[0](images=Image.open(picture), return_tensors="pt")["pixel_values"],
            decoder_input_ids=tokens[:, :-1],
        ).logits.log_softmax(dim=-1)
    expected = logits.gather(2, tokens[:, 1:, None]).sum().item()
    (result,) = Model.load(tmp_path, "cpu").run(
        [Call.of("caption", image=picture, params={"beams": 1, "max_tokens": 6})]
    )
    assert result.value["alternatives"][0]["logprob"] == pytest.approx(expected, abs=1e-4)


def test_pickled_weights_are_not_loaded(tmp_path):
    """A folder whose weights are pytorch_model.bin is refused."""
    model, parts = vit_gpt2(tmp_path)
    for part in (model, *parts):
        part.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFailed, match="safetensors"):
        Model.load(tmp_path, "cpu")


def test_without_weights_the_model_says_what_is_missing(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(ModelFailed, match=r"config\.json"):
            Model.load(folder, "cpu")
