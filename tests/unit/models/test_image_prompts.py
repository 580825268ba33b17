import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.models.image_prompts import full_image_prompt, image_size, read_image, shrink_image, shrunk_size
from bayesgrid.models.loading import load_language_model


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(st.integers(1, 300), st.integers(1, 300))
def test_shrunk_image_keeps_its_proportions_and_never_grows(width, height):
    found = shrink_image(Image.new("RGB", (width, height)), 100)
    if max(width, height) <= 100:
        assert found.size == (width, height)
    else:
        assert max(found.size) == 100
        assert abs(found.size[0] * height - found.size[1] * width) <= max(width, height)


@given(st.integers(1, 900), st.integers(1, 900))
def test_size_of_a_shrunk_image_is_known_before_it_is_shrunk(width, height):
    assert shrunk_size((width, height), 100) == shrink_image(Image.new("RGB", (width, height)), 100).size


def test_size_of_a_stored_image_is_width_and_height(tmp_path):
    picture(8, 6).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (8, 6)
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.png.*cannot be read"):
        image_size(tmp_path / "a.png")


def test_image_is_shrunk_with_lanczos_filter():
    image = picture(90, 60)
    assert shrink_image(image, 30).tobytes() == image.resize((30, 20), Image.Resampling.LANCZOS).tobytes()


def test_image_without_pixels_is_refused():
    with pytest.raises(ConfigurationError, match="at least one pixel"):
        shrink_image(picture(9, 9), 0)


def test_image_is_read_in_colours(tmp_path):
    picture(8, 6).convert("L").save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png").mode, read_image(tmp_path / "grey.png").size) == ("RGB", (8, 6))


@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_damaged_image_is_a_data_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png.*cannot be read"):
        read_image(tmp_path / "a.png")


def test_truncated_image_is_a_data_error(tmp_path):
    picture(50, 50).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.png.*cannot be read"):
        read_image(tmp_path / "a.png")


def load(folder):
    return load_language_model(folder, name="tiny", revision="r", precision="float32", device=torch.device("cpu"))


def test_prompt_of_qwen_has_one_token_for_each_place_of_the_image(tiny_model_folder):
    model = load(tiny_model_folder("qwen3_vl"))
    assert full_image_prompt(model.decoder, model.tokenizer, "what is it?", 3) == (
        "<bos><|user|>\n<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|vision_end|>what is it?\n"
        "<|model|>\n<eos>\n"
    )


def test_prompt_of_gemma_is_what_its_own_processor_makes(tiny_model_folder):
    from transformers import Gemma3Processor

    model = load(tiny_model_folder("gemma3"))
    tokenizer = model.tokenizer
    # The place of the image in the template is its start token in this family, and the processor reads these names.
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>"
    )
    tokenizer.boi_token, tokenizer.image_token, tokenizer.eoi_token = (
        "<|vision_start|>",
        "<|image_pad|>",
        "<|vision_end|>",
    )
    tokenizer.boi_token_id, tokenizer.image_token_id, tokenizer.eoi_token_id = 6, 8, 7
    processor = Gemma3Processor(model.processor, tokenizer, image_seq_length=16)
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it?"}]}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    wanted = processor(text=[text], images=[[picture(20, 20)]], add_special_tokens=False)["input_ids"][0]
    prompt = full_image_prompt(model.decoder, tokenizer, "what is it?", 16)
    assert tokenizer(prompt, add_special_tokens=False)["input_ids"] == list(wanted)


def test_text_that_contains_the_image_token_is_refused(tiny_model_folder):
    model = load(tiny_model_folder("qwen3_vl"))
    with pytest.raises(DataError, match="stands for an image"):
        full_image_prompt(model.decoder, model.tokenizer, "see <|image_pad|>", 3)


@pytest.mark.parametrize(("template", "words"), [(None, "no chat template"), ("hello", "no place for an image")])
def test_template_without_a_place_for_the_image_is_refused(tiny_model_folder, template, words):
    model = load(tiny_model_folder("qwen3_vl"))
    model.tokenizer.chat_template = template
    with pytest.raises(DataError, match=words):
        full_image_prompt(model.decoder, model.tokenizer, "what is it?", 3)


def test_model_that_reads_only_is_refused(tiny_model_folder):
    model = load(tiny_model_folder("llama"))
    model.decoder.config.image_token_id = 8
    with pytest.raises(ConfigurationError, match="cannot be shown an image"):
        full_image_prompt(model.decoder, model.tokenizer, "what is it?", 3)
