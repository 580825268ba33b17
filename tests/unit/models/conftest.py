import json
from pathlib import Path

import pytest
import torch

TEXT_FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")
SEEING_FAMILIES = ("qwen3_vl", "gemma3")
SPECIAL_TOKENS = [
    "<unk>",
    "<pad>",
    "<bos>",
    "<eos>",
    "<|user|>",
    "<|model|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|user|>\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|model|>\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<eos>\n' }}{% endif %}{% endif %}"
)
TEXTS = [
    "Is the sky blue? Answer with A or B. A) yes B) no",
    "Which of these is a fruit? A) stone B) apple C) chair D) cloud",
    "The trophy does not fit into the suitcase because it is too large. A) trophy B) suitcase",
    "Question: what is two and two?\nAnswer: A B C D E",
] * 5


def _tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(TEXTS, trainer)
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[4:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(folder))
    return tokenizer


TEXT_SIZES = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


def _model(family, tie):
    import transformers as t

    sizes = {**TEXT_SIZES, "tie_word_embeddings": tie}
    if family == "narrow_llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**{**sizes, "hidden_size": 32}))
    if family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**sizes))
    if family == "qwen2":
        sizes.pop("head_dim")
        return t.Qwen2ForCausalLM(t.Qwen2Config(**sizes))
    if family == "qwen3":
        return t.Qwen3ForCausalLM(t.Qwen3Config(**sizes))
    if family == "gemma2":
        return t.Gemma2ForCausalLM(t.Gemma2Config(**sizes, sliding_window=64, query_pre_attn_scalar=16))
    if family == "gemma3_text":
        return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**sizes, sliding_window=64, query_pre_attn_scalar=16))
    if family == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=4, n_positions=64))
    if family == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
        return t.Qwen3VLForConditionalGeneration(
            t.Qwen3VLConfig(
                text_config={**sizes, "rope_parameters": rope},
                vision_config={
                    "depth": 2,
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_heads": 2,
                    "patch_size": 4,
                    "temporal_patch_size": 2,
                    "spatial_merge_size": 2,
                    "out_hidden_size": 64,
                    "num_position_embeddings": 16,
                    "deepstack_visual_indexes": [0, 1],
                },
                image_token_id=8,
                video_token_id=9,
                vision_start_token_id=6,
                vision_end_token_id=7,
                tie_word_embeddings=tie,
            )
        )
    if family == "gemma3":
        return t.Gemma3ForConditionalGeneration(
            t.Gemma3Config(
                text_config={**sizes, "sliding_window": 64, "query_pre_attn_scalar": 16},
                vision_config={
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "image_size": 32,
                    "patch_size": 4,
                },
                mm_tokens_per_image=16,
                image_token_index=8,
                boi_token_index=6,
                eoi_token_index=7,
                tie_word_embeddings=tie,
            )
        )
    raise AssertionError(family)


def _image_processor(family):
    import transformers as t

    if family == "qwen3_vl":
        return t.Qwen2VLImageProcessorPil(
            patch_size=4, temporal_patch_size=2, merge_size=2, size={"shortest_edge": 64, "longest_edge": 4096}
        )
    return t.Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, do_pan_and_scan=False)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """Folder of a tiny model of a family with random weights, as ``save_pretrained`` writes it."""
    made = {}

    def make(family, tie=True) -> Path:
        if (family, tie) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{tie}")
            torch.manual_seed(0)
            _model(family, tie).save_pretrained(str(folder))
            _tokenizer(folder)
            if family in SEEING_FAMILIES:
                _image_processor(family).save_pretrained(str(folder))
            made[family, tie] = folder
        return made[family, tie]

    return make


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory):
    """Folder of a tiny BERT with random weights, wide enough that attention is far from uniform."""
    import transformers as t
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    folder = tmp_path_factory.mktemp("encoder")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    t.PreTrainedTokenizerFast(
        tokenizer_object=core, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    ).save_pretrained(str(folder))
    torch.manual_seed(3)
    t.BertModel(
        t.BertConfig(
            vocab_size=120,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
    ).save_pretrained(str(folder))
    return folder


@pytest.fixture
def own_copy(tiny_model_folder, tmp_path):
    """A copy of a tiny model's folder that a test may damage."""
    import shutil

    def make(family, tie=True) -> Path:
        return Path(shutil.copytree(tiny_model_folder(family, tie), tmp_path / family))

    return make


@pytest.fixture(scope="session")
def tokenizer(tiny_model_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_model_folder("llama")))


@pytest.fixture
def edit_json():
    def edit(path, **values):
        content = json.loads(path.read_text())
        content.update(values)
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """A folder that serves as pip's only index, and a function that puts a wheel with given members into it."""
    import zipfile

    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def add(package, version, members):
        information = f"{package}-{version}.dist-info"
        wheel = folder / f"{package}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            archive.writestr(
                f"{information}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr(f"{information}/RECORD", "")
        return wheel

    return add


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model_folder, tmp_path_factory):
    """A GGUF file with the weights of the tiny Llama in float32, written by hand after the format's definition."""
    import gguf
    from safetensors.torch import load_file

    folder = tiny_model_folder("llama", False)
    tensors = load_file(folder / "model.safetensors")
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(2)
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(400)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = [token for token, _ in sorted(vocabulary["vocab"].items(), key=lambda item: item[1])]
    tokens += [f"unused{number}" for number in range(400 - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if position < len(SPECIAL_TOKENS) else 1 for position in range(400)])
    writer.add_token_merges([" ".join(merge) for merge in vocabulary["merges"]])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(1)
    writer.add_chat_template(CHAT_TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    writer.add_tensor("token_embd.weight", tensors["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", tensors["model.norm.weight"].numpy())
    writer.add_tensor("output.weight", tensors["lm_head.weight"].numpy())
    for block in range(2):
        for ours, theirs in names.items():
            weight = tensors[f"model.layers.{block}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                # GGUF holds the two halves of each rotated pair beside each other.
                weight = weight.reshape(-1, 2, 8, 64).swapaxes(1, 2).reshape(weight.shape)
            writer.add_tensor(f"blk.{block}.{theirs}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
