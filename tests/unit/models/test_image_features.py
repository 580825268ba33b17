from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bayesgrid.errors import DataError
from bayesgrid.models.image_features import ImageBatch, VisionFeatureCache, image_batch
from bayesgrid.models.image_prompts import full_image_prompt
from bayesgrid.models.loading import load_language_model
from bayesgrid.models.prompt_tokens import tokenise
from bayesgrid.models.stored_image import StoredImage

FAMILIES = ["qwen3_vl", "gemma3"]
TEXTS = ["what is it?", "Which of these is a fruit? A) stone B) apple", "Is it blue?"]


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURES = [picture(40, 24, 0), picture(16, 48, 1), picture(32, 32, 2)]


@pytest.fixture(params=FAMILIES)
def model(request, tiny_model_folder):
    loaded = load_language_model(
        tiny_model_folder(request.param), name="tiny", revision="r", precision="float32", device=torch.device("cpu")
    )
    if request.param == "gemma3":
        template = loaded.tokenizer.chat_template
        loaded.tokenizer.chat_template = template.replace(
            "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>"
        )
        # Starts at 0, and images would all look alike.
        torch.nn.init.normal_(loaded.decoder.multi_modal_projector.mm_input_projection_weight)
    return loaded


def prompts_and_features(model, cache):
    features = [cache.features(image) for image in PICTURES]
    prompts = [
        full_image_prompt(model.decoder, model.tokenizer, text, image.places)
        for text, image in zip(TEXTS, features, strict=True)
    ]
    return tokenise(model.tokenizer, prompts).ids, features


def uncached(model, ids, image):
    """One row through the whole model, the vision tower included, as transformers is meant to be called."""
    inputs = model.processor(images=[image], return_tensors="pt")
    tokens = torch.from_numpy(ids)[None]
    kinds = (tokens == model.decoder.config.image_token_id).long()
    name = "mm_token_type_ids" if "image_grid_thw" in inputs else "token_type_ids"
    with torch.no_grad():
        return model.decoder(input_ids=tokens, **inputs, **{name: kinds}).last_hidden_state[0]


def test_cached_features_give_the_states_of_the_whole_model(model):
    cache = VisionFeatureCache(model)
    ids, features = prompts_and_features(model, cache)
    with torch.no_grad():
        states = model.decoder(**image_batch(model.decoder, ids, features)).last_hidden_state
    for row, image in enumerate(PICTURES):
        torch.testing.assert_close(states[row, : len(ids[row])], uncached(model, ids[row], image), rtol=1e-5, atol=1e-5)


def test_repeated_rows_stand_block_after_block(model):
    cache = VisionFeatureCache(model)
    ids, features = prompts_and_features(model, cache)
    with torch.no_grad():
        once = model.decoder(**image_batch(model.decoder, ids, features)).last_hidden_state
        twice = model.decoder(**image_batch(model.decoder, ids, features, repeats=2)).last_hidden_state
    torch.testing.assert_close(twice, torch.cat([once, once]), rtol=1e-5, atol=1e-5)


def test_vision_tower_runs_once_for_each_image(model):
    tower = model.decoder.visual if hasattr(model.decoder, "visual") else model.decoder.vision_tower
    runs = []
    tower.register_forward_hook(lambda *_: runs.append(1))
    cache = VisionFeatureCache(model)
    for _ in range(3):
        ids, features = prompts_and_features(model, cache)
        model.decoder(**image_batch(model.decoder, ids, features))
    assert len(runs) == len(PICTURES)


def test_image_that_was_not_asked_for_the_longest_is_forgotten_first(model):
    cache = VisionFeatureCache(model, capacity=2)
    first, second, third = PICTURES
    kept = cache.features(first)
    cache.features(second)
    assert cache.features(first) is kept
    cache.features(third)
    assert cache.features(first) is kept
    again = cache.features(second)
    torch.testing.assert_close(again.embeddings, VisionFeatureCache(model).features(second).embeddings)


def test_states_depend_on_the_deeper_features_too(tiny_model_folder):
    model = load_language_model(
        tiny_model_folder("qwen3_vl"), name="tiny", revision="r", precision="float32", device=torch.device("cpu")
    )
    ids, features = prompts_and_features(model, VisionFeatureCache(model))
    assert all(len(image.deepstack) == 2 for image in features)
    blanked = [
        replace(image, deepstack=tuple(torch.zeros_like(level) for level in image.deepstack)) for image in features
    ]
    with torch.no_grad():
        full = model.decoder(**image_batch(model.decoder, ids, features)).last_hidden_state
        without = model.decoder(**image_batch(model.decoder, ids, blanked)).last_hidden_state
    assert (full - without).abs().max() > 1e-3


def test_gradients_reach_the_language_model(model):
    ids, features = prompts_and_features(model, VisionFeatureCache(model))
    weight = model.decoder.language_model.layers[0].self_attn.q_proj.weight.requires_grad_()
    model.decoder(**image_batch(model.decoder, ids, features)).last_hidden_state[:, -1].sum().backward()
    assert weight.grad.abs().sum() > 0


def test_prompt_with_too_few_places_is_refused(model):
    ids, features = prompts_and_features(model, VisionFeatureCache(model))
    place = model.decoder.config.image_token_id
    short = np.delete(ids[0], np.flatnonzero(ids[0] == place)[0])
    with pytest.raises(DataError, match=r"row 0.*number of places"):
        image_batch(model.decoder, [short], features[:1])


def test_model_that_does_not_see_has_no_features(tiny_model_folder):
    model = load_language_model(
        tiny_model_folder("llama"), name="tiny", revision="r", precision="float32", device=torch.device("cpu")
    )
    with pytest.raises(DataError, match="does not see"):
        VisionFeatureCache(model)


@pytest.mark.parametrize("size", [(40, 24), (16, 48), (7, 9), (64, 64), (90, 20)])
def test_places_of_an_image_follow_from_its_size(model, size):
    cache = VisionFeatureCache(model)
    assert cache.places(size) == cache.features(picture(*size, 3)).places


def test_places_are_found_without_the_vision_tower(model):
    tower = model.decoder.visual if hasattr(model.decoder, "visual") else model.decoder.vision_tower
    tower.register_forward_hook(lambda *_: pytest.fail("the vision tower ran"))
    assert VisionFeatureCache(model).places((40, 24)) > 0


def test_stored_image_is_made_small_and_read_once(model, tmp_path):
    path = tmp_path / "large.png"
    large = picture(448, 224, 4)
    large.save(path)
    cache = VisionFeatureCache(model)
    stored = StoredImage(path, cache)
    expected = VisionFeatureCache(model).features(large.resize((224, 112), Image.Resampling.LANCZOS))
    assert stored.places == expected.places
    found = stored.features
    torch.testing.assert_close(found.embeddings, expected.embeddings)
    path.unlink()
    assert StoredImage(path, cache).features is found


def test_features_that_were_forgotten_are_computed_again(model, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for image, path in zip(PICTURES, paths, strict=True):
        image.save(path)
    one = VisionFeatureCache(model).features(PICTURES[0])
    cache = VisionFeatureCache(model, most_bytes=one.size_bytes + 1)
    for _ in range(2):
        for image, path in zip(PICTURES, paths, strict=True):
            expected = VisionFeatureCache(model).features(image)
            torch.testing.assert_close(cache.features_of_file(path).embeddings, expected.embeddings)
    paths[0].unlink()
    with pytest.raises(DataError, match=r"0\.png.*cannot be read"):
        cache.features_of_file(paths[0])


def test_repeated_batch_stands_block_after_block(model):
    ids, features = prompts_and_features(model, VisionFeatureCache(model))
    last = torch.tensor([len(row) - 1 for row in ids])
    batch = ImageBatch(ids, tuple(features), last).repeated(2).repeated(3)
    with torch.no_grad():
        once = model.decoder(**image_batch(model.decoder, ids, features)).last_hidden_state
        found = model.decoder(**batch.arguments(model.decoder)).last_hidden_state
    torch.testing.assert_close(found, torch.cat([once] * 6), rtol=1e-5, atol=1e-5)
    assert batch.last.tolist() == last.tolist() * 6
