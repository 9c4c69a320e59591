"""Captioners of the hub, each class as a tiny checkpoint of random weights with its real processor.

MADE[name](folder) -> the network, the parts to save beside it, the text that its processor is given by hand (None:
pixels alone; "chat": its template), and the tokens that generate() returns before the caption (None: the prompt's)
"""

import transformers as hub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

QUESTION = "Describe this picture in one sentence."
SIDE, SIZE = 32, 16
SQUARE = {"height": SIDE, "width": SIDE}
SIZES = {"hidden_size": SIZE, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SIZES, "image_size": SIDE, "patch_size": 16}
CLIP = {**VISION, "projection_dim": SIZE}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WORDS = (
    "a cat dog above two and the red car tree house of small big green street child ball horse under beside one sky on"
)
MARKS = ["<image>", "<video>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<img>", "</img>"]
MARKS += ["<IMG_CONTEXT>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}{{ 'MARK ' if c['type'] == 'image' else c['text'] }}"
    "{% endfor %}{% endfor %}"
)
IMAGE_CHAT = CHAT.replace("MARK", "<image>")


def bert_tokenizer(folder):
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]) + "\n")
    return hub.BertTokenizer(str(path))


def word_tokenizer(**named):
    """Of whole words, as a fast tokenizer; `named`: marks that processors ask it for by name."""
    signs = ["<pad>", "<s>", "</s>", "<unk>", *MARKS, *WORDS.split(), "\n"]
    made = Tokenizer(models.WordLevel({sign: n for n, sign in enumerate(signs)}, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    return hub.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=MARKS,
        extra_special_tokens=named,
    )


def image_tokenizer():
    return word_tokenizer(image_token="<image>")


def llama(tokenizer):
    return {"model_type": "llama", **SIZES, **ENDS, "vocab_size": len(tokenizer), "num_key_value_heads": 2}


def blip(folder):
    tokenizer = bert_tokenizer(folder)
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": SIZE,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    network = hub.BlipForConditionalGeneration(hub.BlipConfig(text_config=text, vision_config=VISION))
    return network, [hub.BlipProcessor(hub.BlipImageProcessor(size=SQUARE), tokenizer)], None, 1


def git(folder):
    tokenizer = bert_tokenizer(folder)
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    network = hub.GitForCausalLM(hub.GitConfig(vision_config=VISION, **SIZES, **ends, vocab_size=len(tokenizer)))
    return network, [hub.GitProcessor(hub.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE), tokenizer)], None, 1


def encoder_decoder(vision, text):
    config = hub.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    network = hub.VisionEncoderDecoderModel(config)
    network.generation_config.update(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2)
    return network


def vit_gpt2(folder):
    tokenizer = word_tokenizer()
    text = hub.GPT2Config(vocab_size=len(tokenizer), n_embd=SIZE, n_layer=2, n_head=2, add_cross_attention=True, **ENDS)
    return encoder_decoder(hub.ViTConfig(**VISION), text), [hub.ViTImageProcessor(size=SQUARE), tokenizer], None, 1


def donut(folder):
    tokenizer = word_tokenizer()
    text = hub.MBartConfig(
        vocab_size=len(tokenizer),
        d_model=SIZE,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        is_decoder=True,
        add_cross_attention=True,
        max_position_embeddings=64,
        **ENDS,
    )
    vision = hub.DonutSwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2
    )
    return encoder_decoder(vision, text), [hub.DonutProcessor(hub.DonutImageProcessor(size=SQUARE), tokenizer)], None, 1


def blip2_config(of, tokenizer, text):
    former = {**SIZES, "encoder_hidden_size": SIZE, "vocab_size": 64}
    parts = {"vision_config": VISION, "qformer_config": former, "text_config": text}
    return of(**parts, num_query_tokens=4, image_token_index=tokenizer.convert_tokens_to_ids("<image>"))


def blip2(folder):
    tokenizer = word_tokenizer()
    text = {
        "model_type": "opt",
        "vocab_size": len(tokenizer),
        "hidden_size": SIZE,
        "word_embed_proj_dim": SIZE,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        **ENDS,
    }
    processor = hub.Blip2Processor(hub.BlipImageProcessor(size=SQUARE), tokenizer, num_query_tokens=4)
    return hub.Blip2ForConditionalGeneration(blip2_config(hub.Blip2Config, tokenizer, text)), [processor], None, 5


def blip2_t5(folder):
    tokenizer = word_tokenizer()
    text = {
        "model_type": "t5",
        "vocab_size": len(tokenizer),
        "d_model": SIZE,
        "d_ff": 32,
        "d_kv": 8,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    processor = hub.Blip2Processor(hub.BlipImageProcessor(size=SQUARE), tokenizer, num_query_tokens=4)
    return (
        hub.Blip2ForConditionalGeneration(blip2_config(hub.Blip2Config, tokenizer, text)),
        [processor],
        "a photo of",
        1,
    )


def instructblip(folder):
    tokenizer = word_tokenizer()
    config = blip2_config(hub.InstructBlipConfig, tokenizer, llama(tokenizer))
    parts = hub.BlipImageProcessor(size=SQUARE), tokenizer, bert_tokenizer(folder)
    processor = hub.InstructBlipProcessor(*parts, num_query_tokens=4)
    return hub.InstructBlipForConditionalGeneration(config), [processor], QUESTION, None


def florence2(folder):
    tokenizer = image_tokenizer()
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": SIZE,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
        "decoder_start_token_id": 2,
        **ENDS,
    }
    vision = {
        "model_type": "florence_vision",
        "depths": [1, 1],
        "embed_dim": [8, 16],
        "num_heads": [1, 2],
        "num_groups": [1, 2],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "window_size": 2,
        "projection_dim": SIZE,
        "max_temporal_embeddings": 4,
        "max_position_embeddings": 10,
    }
    images = hub.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE)
    images.image_seq_length = 17
    config = hub.Florence2Config(text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id)
    network = hub.Florence2ForConditionalGeneration(config)
    network.generation_config.update(forced_eos_token_id=2, decoder_start_token_id=2, **ENDS)
    return network, [hub.Florence2Processor(images, tokenizer)], "<CAPTION>", 1


def paligemma(folder):
    tokenizer = image_tokenizer()
    images = hub.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 4
    processor = hub.PaliGemmaProcessor(images, tokenizer)  # which adds its 1,152 marks to the tokenizer
    text = {
        "model_type": "gemma",
        **SIZES,
        **ENDS,
        "head_dim": 8,
        "num_key_value_heads": 1,
        "vocab_size": len(tokenizer),
    }
    config = hub.PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        projection_dim=SIZE,
    )
    return hub.PaliGemmaForConditionalGeneration(config), [processor], "<image>caption en", None


def kosmos2(folder):
    tokenizer = word_tokenizer()
    processor = hub.Kosmos2Processor(
        hub.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE), tokenizer, num_patch_index_tokens=4
    )
    text = {
        "vocab_size": max(len(tokenizer), 4 + 64),  # the picture's 64 places have the numbers behind <unk>
        "embed_dim": SIZE,
        "layers": 2,
        "ffn_dim": 32,
        "attention_heads": 2,
        "max_position_embeddings": 128,
        **ENDS,
    }
    config = hub.Kosmos2Config(text_config=text, vision_config=CLIP, latent_query_num=64)
    return hub.Kosmos2ForConditionalGeneration(config), [processor], "An image of", None


def llava(folder, template=IMAGE_CHAT):
    tokenizer = image_tokenizer()
    config = hub.LlavaConfig(
        vision_config=hub.CLIPVisionConfig(**CLIP),
        text_config=hub.LlamaConfig(**llama(tokenizer)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=4,
    )
    processor = hub.LlavaProcessor(
        hub.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    return hub.LlavaForConditionalGeneration(config), [processor], "chat", None


def llava_bare(folder):
    """Without a chat template: the words of the paper."""
    return *llava(folder, None)[:2], f"USER: <image>\n{QUESTION} ASSISTANT:", None


def llava_next(folder):
    """Without a chat template."""
    tokenizer = image_tokenizer()
    grid = [[32, 64], [64, 32]]
    config = hub.LlavaNextConfig(
        vision_config=hub.CLIPVisionConfig(**CLIP),
        text_config=llama(tokenizer),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=grid,
        image_seq_length=4,
    )
    images = hub.LlavaNextImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE, image_grid_pinpoints=grid)
    options = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    processor = hub.LlavaNextProcessor(images, tokenizer, **options)
    return hub.LlavaNextForConditionalGeneration(config), [processor], f"USER: <image>\n{QUESTION} ASSISTANT:", None


def tiles(of):
    """An image or video processor of Idefics 3 or SmolVLM."""
    return of(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})


def idefics3_config(of, tokenizer):
    vision = {**SIZES, "image_size": SIDE, "patch_size": 8}
    marks = {"image_token_id": tokenizer.image_token_id, "pad_token_id": 0}
    return of(vision_config=vision, text_config=llama(tokenizer), scale_factor=2, **marks)


def idefics3(folder):
    tokenizer = image_tokenizer()
    network = hub.Idefics3ForConditionalGeneration(idefics3_config(hub.Idefics3Config, tokenizer))
    processor = hub.Idefics3Processor(
        tiles(hub.Idefics3ImageProcessor), tokenizer, image_seq_len=4, chat_template=IMAGE_CHAT
    )
    return network, [processor], "chat", None


def smolvlm(folder):
    tokenizer = image_tokenizer()
    network = hub.SmolVLMForConditionalGeneration(idefics3_config(hub.SmolVLMConfig, tokenizer))
    parts = tiles(hub.SmolVLMImageProcessor), tokenizer, tiles(hub.SmolVLMVideoProcessor)
    processor = hub.SmolVLMProcessor(*parts, image_seq_len=4, chat_template=IMAGE_CHAT)
    return network, [processor], "chat", None


def qwen2_parts(of):
    """The tokenizer, the processor, and what both Qwens' configs have in common."""
    tokenizer = word_tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>")
    parts = hub.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56), tokenizer, hub.Qwen2VLVideoProcessor()
    processor = of(*parts, chat_template=CHAT.replace("MARK", "<|vision_start|> <|image_pad|> <|vision_end|>"))
    turns = {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    text = {**llama(tokenizer), "rope_parameters": turns, "max_position_embeddings": 128}
    del text["model_type"]
    marks = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    marks |= {"vision_end": "<|vision_end|>"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    return processor, {"text_config": text, **ids}


def qwen2_vl(folder):
    processor, config = qwen2_parts(hub.Qwen2VLProcessor)
    vision = {"depth": 2, "embed_dim": SIZE, "hidden_size": SIZE, "mlp_ratio": 2, "num_heads": 2}
    network = hub.Qwen2VLForConditionalGeneration(hub.Qwen2VLConfig(**config, vision_config=vision))
    return network, [processor], "chat", None


def qwen2_5_vl(folder):
    processor, config = qwen2_parts(hub.Qwen2_5_VLProcessor)
    vision = {"depth": 2, "hidden_size": SIZE, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": SIZE}
    vision |= {"window_size": 28, "fullatt_block_indexes": [1]}
    network = hub.Qwen2_5_VLForConditionalGeneration(hub.Qwen2_5_VLConfig(**config, vision_config=vision))
    return network, [processor], "chat", None


def pix2struct(folder):
    tokenizer = word_tokenizer()
    sizes = {"hidden_size": SIZE, "d_kv": 8, "d_ff": 32}
    text = {**sizes, "vocab_size": len(tokenizer), "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    vision = {**sizes, "patch_embed_hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 2, "seq_len": 64}
    config = hub.Pix2StructConfig(text_config={**text, "eos_token_id": 2, "pad_token_id": 0}, vision_config=vision)
    images = hub.Pix2StructImageProcessor(max_patches=16, patch_size={"height": 16, "width": 16})
    return hub.Pix2StructForConditionalGeneration(config), [hub.Pix2StructProcessor(images, tokenizer)], None, 1


def internvl(folder):
    marks = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = word_tokenizer(**marks, video_token="<video>")
    config = hub.InternVLConfig(
        vision_config={**SIZES, "image_size": [SIDE, SIDE], "patch_size": [8, 8]},
        text_config=llama(tokenizer),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    parts = hub.GotOcr2ImageProcessor(size=SQUARE, max_patches=2), tokenizer, hub.InternVLVideoProcessor(size=SQUARE)
    processor = hub.InternVLProcessor(*parts, image_seq_length=4, chat_template=CHAT.replace("MARK", "<IMG_CONTEXT>"))
    return hub.InternVLForConditionalGeneration(config), [processor], "chat", None


MADE = {
    "blip": blip,
    "blip-2": blip2,
    "blip-2-t5": blip2_t5,
    "donut": donut,
    "florence2": florence2,
    "git": git,
    "idefics3": idefics3,
    "instructblip": instructblip,
    "internvl": internvl,
    "kosmos-2": kosmos2,
    "llava": llava,
    "llava-bare": llava_bare,
    "llava-next": llava_next,
    "paligemma": paligemma,
    "pix2struct": pix2struct,
    "qwen2-vl": qwen2_vl,
    "qwen2.5-vl": qwen2_5_vl,
    "smolvlm": smolvlm,
    "vit-gpt2": vit_gpt2,
}
