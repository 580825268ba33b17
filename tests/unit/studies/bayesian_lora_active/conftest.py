import numpy as np
import pytest
import torch

from bayesgrid.models.loading import load_language_model
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker
from bayesgrid.studies.bayesian_lora.adapted_model import adapt_model
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

LABELS = (3, 4, 5)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a tiny Llama with random weights, wide enough that attention is far from uniform."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(7)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=False,
            initializer_range=0.3,
        )
    ).save_pretrained(str(folder))
    letters = ["<unk>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠA", "ĠB"]
    core = Tokenizer(models.BPE({letter: token for token, letter in enumerate(letters)}, [("Ġ", "A"), ("Ġ", "B")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<eos>").save_pretrained(str(folder))
    return folder


@pytest.fixture
def tiny_model(tiny_folder):
    """A function that returns the adapted tiny model of a specification."""

    def make(spec):
        base = load_language_model(
            tiny_folder, name="tiny", revision="0", precision="float32", device=torch.device("cpu")
        )
        return adapt_model(base, spec.lora, LABELS, slots=1, device=torch.device("cpu"))

    return make


@pytest.fixture
def questions():
    """A function that returns questions whose answer is told by the first token after a common beginning."""

    def make(count, seed=0):
        draw = np.random.default_rng(seed)
        answers = draw.integers(0, len(LABELS), count)
        prompts = tuple(
            np.concatenate([[9, 8, 7], [10 + answer], draw.integers(20, 60, draw.integers(1, 5))]).astype(np.int64)
            for answer in answers
        )
        return AnswerTask(
            questions=tuple(f"q{seed}-{row}" for row in range(count)),
            prompts=prompts,
            shared_prefix=3,
            answers=answers.astype(np.int64),
            options=np.full(count, len(LABELS), dtype=np.int64),
            labels=("A", "B", "C"),
            label_tokens=LABELS,
        )

    return make


@pytest.fixture
def make_context(tmp_path):
    """A function that returns the context of a run with real folders, always the same ones for the same name."""

    def make(name="run"):
        state = tmp_path / name
        return RunContext("test", state, Tracker(state / "tracking"), CheckpointStore(state / "checkpoints", "test"))

    return make


@pytest.fixture
def active_spec():
    """A function that returns a specification of a short run; groups of parameters are merged into the defaults."""

    def make(method="scalabl", **groups):
        values = {
            "model": "tiny",
            "dataset": "questions",
            "seeds": [0],
            "precision": "float32",
            "lora": {"rank": 2, "alpha": 4.0},
            "training": {"steps": 3, "batch_size": 4, "learning_rate": 0.02},
            "ensemble": {"members": 2},
            "width": {"anchors": 10, "draws": 2},
            "laplace": {"parent": "mle", "logit_draws": 4},
            "acquisition": {"initial": 6, "per_round": 4, "rounds": 3, "pool": 15, "draws": 3, "hold_out_from": 8},
        }
        for name, value in groups.items():
            values[name] = {**values[name], **value} if isinstance(values.get(name), dict) else value
        return BayesianLoraActiveSpec.from_parameters({"method": method, **values}, where="test")

    return make
