"""Tiny random causal language models, random adapters for them, and the adapted model by adding to its weights."""

import copy
from collections.abc import Callable, Iterable

import pytest
import torch

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair

HIDDEN = 32
LAYERS = 3


@pytest.fixture(scope="session")
def causal_model() -> Callable[[str], torch.nn.Module]:
    """Return a function from the family to a random model with 3 layers of width 32, its own each time."""
    import transformers

    def build(family: str) -> torch.nn.Module:
        torch.manual_seed(3)
        configuration = getattr(transformers, f"{family}Config")(
            vocab_size=61,
            hidden_size=HIDDEN,
            intermediate_size=48,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            tie_word_embeddings=False,
        )
        return getattr(transformers, f"{family}ForCausalLM")(configuration).float().eval()

    return build


@pytest.fixture(scope="session")
def random_adapter() -> Callable[..., AdapterWeights]:
    """Return a function to random factors for query and value projections (and the head, for ``labels`` > 0)."""

    def build(
        *, layers: Iterable[int] = range(LAYERS), rank: int = 4, labels: int = 0, scaling: float = 2.0, seed: int = 0
    ) -> AdapterWeights:
        generator = torch.Generator().manual_seed(seed)
        sizes = {f"layers.{layer}.self_attn.q_proj": 32 for layer in layers}
        sizes |= {f"layers.{layer}.self_attn.v_proj": 16 for layer in layers}
        sizes |= {ANSWER_HEAD: labels} if labels else {}
        return AdapterWeights(
            {
                name: LowRankPair(
                    torch.randn(rank, HIDDEN, generator=generator) * 0.5,
                    torch.randn(outputs, rank, generator=generator) * 0.5,
                )
                for name, outputs in sizes.items()
            },
            scaling,
        )

    return build


@pytest.fixture(scope="session")
def adapted_logits() -> Callable[..., torch.Tensor]:
    """Return a function to the logits after ``scaling · b a`` was added to the weights of the decoder."""

    def compute(model: torch.nn.Module, weights: AdapterWeights, tokens: torch.Tensor) -> torch.Tensor:
        changed = copy.deepcopy(model)
        with torch.no_grad():
            for name, pair in weights.pairs.items():
                if name != ANSWER_HEAD:
                    changed.model.get_submodule(name).weight += weights.scaling * pair.b @ pair.a
            return changed(input_ids=tokens).logits

    return compute
