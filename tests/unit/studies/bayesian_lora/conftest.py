from pathlib import Path

import numpy as np
import pytest
import torch

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.models.loading import LanguageModel
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker
from bayesgrid.studies.bayesian_lora.adapted_model import adapt_model
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    # Wide enough that attention is far from uniform and a wrong token shows.
    "initializer_range": 0.3,
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def _causal_model(family, layers):
    import transformers as t

    sizes = {**SIZES, "num_hidden_layers": layers}
    if family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**sizes))
    if family == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**sizes))
    return t.Qwen3ForCausalLM(t.Qwen3Config(**sizes, head_dim=8))


@pytest.fixture
def causal_model():
    """A function that returns a tiny model of transformers with random weights: the same for the same arguments."""

    def make(family="llama", layers=2):
        torch.manual_seed(7)
        return _causal_model(family, layers).eval().requires_grad_(requires_grad=False)

    return make


@pytest.fixture
def adapted_model(causal_model):
    """A function that puts stacked adapters on a fresh copy of the tiny model."""

    def make(spec, slots=1, *, family="llama", layers=2, labels=(3, 4, 5), dtype=torch.float32):
        whole = causal_model(family, layers).to(dtype)
        base = LanguageModel(
            name="tiny",
            revision="0",
            folder=Path(),
            decoder=whole.base_model,
            head_weight=whole.lm_head.weight,
            tokenizer=None,
            hidden_size=32,
            precision="float32",
        )
        return adapt_model(base, spec.lora, labels, slots=slots, device=torch.device("cpu"))

    return make


@pytest.fixture
def make_task():
    """A function that returns questions of random tokens whose answer is the first token after the shared prefix."""

    def make(count, *, seed=0, prefix=4, longest=9, labels=(3, 4, 5), options=None):
        draw = np.random.default_rng(seed)
        beginning = np.random.default_rng(99).integers(6, 60, prefix)
        answers = draw.integers(0, len(labels), count)
        prompts = tuple(
            np.concatenate([beginning, [10 + answer], draw.integers(6, 60, draw.integers(1, longest))]).astype(np.int64)
            for answer in answers
        )
        return AnswerTask(
            questions=tuple(f"q{seed}-{row}" for row in range(count)),
            prompts=prompts,
            shared_prefix=prefix,
            answers=answers.astype(np.int64),
            options=np.full(count, len(labels), dtype=np.int64) if options is None else np.asarray(options, np.int64),
            labels=tuple("ABCDE"[: len(labels)]),
            label_tokens=labels,
        )

    return make


@pytest.fixture
def make_context(tmp_path):
    """A function that returns the context of a run with real folders, always the same ones for the same name."""

    def make(name="run", **arguments):
        state = tmp_path / name
        return RunContext(
            run_id=name,
            state=state,
            tracker=Tracker(state / "tracking"),
            checkpoints=CheckpointStore(state / "checkpoints", name),
            **arguments,
        )

    return make


@pytest.fixture
def fit_spec():
    """A function that returns a specification of a short fit; groups of parameters are merged into the defaults."""

    def make(method, **groups):
        values = {
            "model": "tiny",
            "dataset": "questions",
            "seeds": [0],
            "precision": "float32",
            "lora": {"rank": 2, "alpha": 4.0},
            "training": {"steps": 20, "batch_size": 4, "learning_rate": 0.01},
        }
        for name, value in groups.items():
            values[name] = {**values[name], **value} if isinstance(values.get(name), dict) else value
        return FitSpec.from_parameters({"method": method, **values}, where="test")

    return make


@pytest.fixture
def random_weights():
    """A function that returns an adapter with random factors for the layers of a stack."""

    def make(stack, *, seed=0, size=0.2, layers=None):
        generator = torch.Generator().manual_seed(seed)
        pairs = {
            path: LowRankPair(
                size * torch.randn(layer.a.shape[1:], generator=generator),
                size * torch.randn(layer.b.shape[1:], generator=generator),
            )
            for path, layer in stack.layers.items()
        }
        return AdapterWeights(pairs, stack.scaling)

    return make


@pytest.fixture
def merged_logits(causal_model):
    """A function that answers one prompt with a copy of the tiny model into whose weights an adapter was merged."""
    from torch.func import functional_call

    def make(weights, labels, *, family="llama", layers=2):
        whole = causal_model(family, layers)
        frozen = dict(whole.named_parameters())

        def logits(flat, prompt):
            """``flat``: path -> (a, b), differentiable."""
            changed = dict(frozen)
            head = frozen["lm_head.weight"][list(labels)]
            for path, (a, b) in flat.items():
                update = weights.scaling * b @ a
                if path == "answer_head":
                    head = head + update
                else:
                    changed[f"model.{path}.weight"] = frozen[f"model.{path}.weight"] + update
            output = functional_call(
                whole.model,
                {name.removeprefix("model."): v for name, v in changed.items() if name.startswith("model.")},
                kwargs={"input_ids": torch.from_numpy(prompt)[None]},
            )
            return head @ output.last_hidden_state[0, -1]

        return logits, {path: (pair.a, pair.b) for path, pair in weights.pairs.items()}

    return make
