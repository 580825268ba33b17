import numpy as np
import pytest
import torch

from bayesgrid.data.preference_pairs import Message, PreferencePairs, Prompt, Response
from bayesgrid.models.feature_model import load_feature_model
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker

WORDS = ["blue", "sky", "stone", "apple", "chair", "cloud", "trophy", "large"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """Folder of a tiny BERT that knows a word for each letter and a few more."""
    import transformers as t
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    core = Tokenizer(models.WordLevel({word: token for token, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    t.PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(str(folder))
    torch.manual_seed(5)
    t.BertModel(
        t.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
    ).save_pretrained(str(folder))
    return folder


@pytest.fixture
def encoder(encoder_folder):
    return load_feature_model(
        encoder_folder, name="tiny", revision="r1", precision="float32", device=torch.device("cpu")
    )


@pytest.fixture
def pairs():
    """Nine prompts, each answered by the systems a, b and c, which gives two pairs."""
    drawn = np.random.default_rng(2)
    prompts = tuple(Prompt(f"p{n}", (Message("user", " ".join(drawn.choice(WORDS, size=4))),)) for n in range(9))
    responses = tuple(
        Response(f"{system}{prompt}", prompt, " ".join(drawn.choice(WORDS, size=drawn.integers(5, 30))), system)
        for system in "abc"
        for prompt in range(9)
    )
    first = np.concatenate([np.arange(9), np.arange(9)])
    return PreferencePairs(
        name="talk",
        data_version="v1",
        prompts=prompts,
        responses=responses,
        first=first,
        second=np.concatenate([np.arange(9, 18), np.arange(18, 27)]),
        prompt=first,
        votes=np.zeros((18, 3), dtype=np.float32),
        probability=np.full(18, 0.7),
        pair_ids=tuple(f"pair{n}" for n in range(18)),
        subsets=(None,) * 18,
    )


@pytest.fixture
def make_context():
    def make(state):
        state.mkdir(parents=True, exist_ok=True)
        return RunContext("run", state, Tracker(state / "tracking"), CheckpointStore(state / "checkpoints", "run"))

    return make
