import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bayesgrid.adapters.posterior_files import read_posterior, read_provenance
from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.data.choice_questions import (
    ChoiceQuestion,
    ChoiceQuestions,
    read_choice_questions,
    write_choice_questions,
)
from bayesgrid.data.plot_questions import draw_plot_questions
from bayesgrid.data.prepared_folders import PROVENANCE_FILE
from bayesgrid.data.prompt_templates import render_prompt
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.grid.question_sets import SeedBlocks
from bayesgrid.models.loading import load_language_model
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora import evaluate, fit
from bayesgrid.studies.bayesian_lora.adapted_model import adapt_model
from bayesgrid.studies.bayesian_lora.answer_jacobian import answer_jacobian
from bayesgrid.studies.bayesian_lora.answer_task import answer_task
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.run_inputs import task_for_model
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

CPU = torch.device("cpu")
FAMILIES = ("qwen3_vl", "gemma3")
CASES = [
    *((family, method, "correct") for family in FAMILIES for method in ("mle", "scalabl", "blob", "laplace")),
    ("qwen3_vl", "zeroshot", "correct"),
    ("qwen3_vl", "ensemble", "correct"),
    ("qwen3_vl", "tfb", "correct"),
    ("qwen3_vl", "mcdropout", "faithful"),
    ("gemma3", "blob", "faithful"),
    ("gemma3", "laplace_kronecker", "faithful"),
]
LABELS = ("A", "B", "C", "D")
LOGITS = [f"logit_{label}" for label in range(4)]
SPECIAL_TOKENS = ["<unk>", "<pad>", "<bos>", "<eos>", "<user>", "<model>", "<image>", "</image>", "<place>", "<video>"]
TEXT = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    # Wide enough that another image, or a token out of place, shows in the answers.
    "initializer_range": 0.2,
}


def _tokenizer(folder, image):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    text = "For the provided image of a plot, which of the following formulas best describes it? Choices: A) B) C) D)"
    core.train_from_iterator([text] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[4:]})
    tokenizer.chat_template = (
        "<bos>{% for message in messages %}<user>{% if message.content is string %}{{ message.content }}{% else %}"
        f"{{% for part in message.content %}}{{% if part.type == 'image' %}}{image}{{% else %}}{{{{ part.text }}}}"
        "{% endif %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
    )
    tokenizer.save_pretrained(str(folder))


def _seeing(family):
    import transformers as t

    vision = {"hidden_size": 16, "intermediate_size": 32, "patch_size": 4, "initializer_range": 0.3}
    places = {"image_token_id": 8, "video_token_id": 9, "vision_start_token_id": 6, "vision_end_token_id": 7}
    if family == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
        vision |= {"depth": 2, "num_heads": 2, "temporal_patch_size": 2, "spatial_merge_size": 2, "out_hidden_size": 32}
        vision |= {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
        configuration = t.Qwen3VLConfig(
            text_config={**TEXT, "rope_parameters": rope}, vision_config=vision, tie_word_embeddings=True, **places
        )
        processor = t.Qwen2VLImageProcessorPil(
            patch_size=4, temporal_patch_size=2, merge_size=2, size={"shortest_edge": 64, "longest_edge": 2048}
        )
        return t.Qwen3VLForConditionalGeneration(configuration), processor, "<image><place></image>"
    configuration = t.Gemma3Config(
        text_config={**TEXT, "sliding_window": 64, "query_pre_attn_scalar": 8},
        vision_config={**vision, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32},
        mm_tokens_per_image=16,
        image_token_index=8,
        boi_token_index=6,
        eoi_token_index=7,
    )
    processor = t.Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, do_pan_and_scan=False)
    model = t.Gemma3ForConditionalGeneration(configuration)
    # Starts at 0, and images would all look alike.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    return model, processor, "<image>"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A function that returns the folder of a tiny model with random weights."""
    import transformers as t

    made = {}

    def make(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            torch.manual_seed(0)
            if family == "llama":
                t.LlamaForCausalLM(t.LlamaConfig(**TEXT)).save_pretrained(str(folder))
                _tokenizer(folder, "<image>")
            else:
                model, processor, image = _seeing(family)
                model.save_pretrained(str(folder))
                processor.save_pretrained(str(folder))
                _tokenizer(folder, image)
            made[family] = folder
        return made[family]

    return make


def _store(questions, folder):
    write_choice_questions(questions, folder)
    record = {"parquet_sha256": sha256_of_file(folder / "questions.parquet"), "name": questions.name}
    record |= {"labels": list(questions.labels), "template": questions.template}
    (folder / PROVENANCE_FILE).write_text(json.dumps(record))


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Questions about images of several sizes, each image asked about twice; others; and questions in words."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    sizes = [(40, 24), (16, 48), (32, 32), (300, 200)]
    for name, splits in (
        ("plots", {"train": 16, "test": 6}),
        ("others", {"test": 6}),
        ("letters", {"train": 12, "test": 5}),
    ):
        folder = root / f"{name}-1"
        (folder / "images").mkdir(parents=True)
        made = {}
        for split, count in splits.items():
            rows = []
            for number in range(count):
                options = tuple(f"y = {draw.integers(9)}*x^{degree}" for degree in range(int(draw.integers(2, 5))))
                image = None if name == "letters" else f"{split}-{number // 2}.png"
                if image:
                    width, height = sizes[number // 2 % len(sizes)]
                    pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / "images" / image)
                words = "formulas " * (number % 3)
                rows.append(
                    ChoiceQuestion(f"{split}-{number}", f"which {words}?", options, number % len(options), image=image)
                )
            made[split] = tuple(rows)
        _store(ChoiceQuestions(name, "1", LABELS, "image_formula", made, folder), folder)
    return root


@pytest.fixture
def load(model_folder):
    def make(family):
        return load_language_model(model_folder(family), name="tiny", revision="0", precision="float32", device=CPU)

    return make


@pytest.fixture
def runs(model_folder, data_root, make_context):
    """A function that fits and evaluates a method on a tiny model."""

    def run(
        family, method, mode="correct", *, seeds=(0, 1), draws=3, dataset="plots", evaluated=None, root=None, **groups
    ):
        values = {
            "model": "tiny",
            "dataset": dataset,
            "method": method,
            "mode": mode,
            "seeds": list(seeds),
            "precision": "float32",
            "lora": {"rank": 2, "alpha": 4.0},
            "training": {"steps": 6, "learning_rate": 0.02, "batch_size": 3},
            "labels": {"validation_fraction": 0.25},
            "ensemble": {"members": 2},
            "width": {"draws": 2, "anchors": 4},
            "laplace": {"logit_draws": 4},
            "evaluation": {"draws": draws, **({"dataset": evaluated} if evaluated else {})},
            **groups,
        }

        def inputs(needs):
            return RunInputs(
                data=root or data_root,
                data_versions={"plots": "1", "others": "1", "letters": "1"},
                needs=needs,
                model=model_folder(family),
                model_revision="0",
            )

        def fitted(spec):
            context = make_context(f"fit-{spec.method}-{len(seeds)}")
            needs = {role: fitted(parent) for role, parent in spec.needs().items()}
            result = fit.run(spec, context, inputs(needs))
            (context.state / "finished").mkdir()
            result.metrics.to_parquet(context.state / "finished" / "metrics.parquet")
            return context.state

        spec = BayesianLoraSpec.from_parameters(values, where="test")
        state = fitted(spec.fit())
        context = make_context(f"evaluation-{draws}-{len(seeds)}")
        return state, evaluate.run(spec, context, inputs({"fit": state}))

    return run


class WholeModel:
    """The stock vision-language model with an adapter merged into it, called as transformers is meant to be."""

    def __init__(self, folder, family):
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        self.model = AutoModelForImageTextToText.from_pretrained(str(folder)).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self.processor = AutoImageProcessor.from_pretrained(str(folder))
        self.family = family
        self.label_tokens = self.tokenizer.convert_tokens_to_ids(list(LABELS))
        self.head_update = torch.zeros(len(LABELS), 32)

    @torch.no_grad()
    def merge(self, weights):
        for path, pair in weights.pairs.items():
            update = weights.scaling * pair.b @ pair.a
            if path == "answer_head":
                self.head_update = update
            else:
                self.model.model.get_submodule(path).weight += update
        return self

    def inputs(self, question, image):
        if image is None:
            text = f"<bos><user>{render_prompt('image_formula', question, LABELS)}<model>"
            return self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        if max(image.size) > 224:
            image = image.resize((224, round(image.height * 224 / image.width)), Image.Resampling.LANCZOS)
        seen = dict(self.processor(images=[image], return_tensors="pt"))
        seen.pop("num_crops", None)
        text = render_prompt("image_formula", question, LABELS)
        if self.family == "qwen3_vl":
            places = int(seen["image_grid_thw"].prod()) // 4
            prompt = f"<bos><user><image>{'<place>' * places}</image>{text}<model>"
        else:
            prompt = f"<bos><user>\n\n<image>{'<place>' * 16}</image>\n\n{text}<model>"
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        kinds = "mm_token_type_ids" if self.family == "qwen3_vl" else "token_type_ids"
        return {"input_ids": ids, **seen, kinds: (ids == 8).long()}

    def answer(self, question, image):
        output = self.model(**self.inputs(question, image), output_hidden_states=True)
        return output.logits[0, -1, self.label_tokens] + self.head_update @ output.hidden_states[-1][0, -1]


def _image(data, question):
    return None if question.image is None else Image.open(data.image_path(question)).convert("RGB")


def _adapted(base, task, fit_spec, slots=1, **lora):
    return adapt_model(base, fit_spec("mle", lora=lora).lora, task.label_tokens, slots=slots, device=CPU)


def _image_task(base, data_root, split="test", name="plots"):
    return task_for_model(read_choice_questions(data_root, name, "1"), split, base, "instruct")


@pytest.mark.parametrize(("family", "method", "mode"), CASES)
def test_methods_are_fitted_to_and_evaluated_on_questions_about_images(runs, family, method, mode):
    _, result = runs(family, method, mode, evaluated="others" if family == "gemma3" else None)
    frame = result.predictions
    assert np.isfinite(frame[LOGITS].to_numpy()).all()
    assert np.isfinite(result.metrics["value"]).all()
    counts = frame.groupby("split")["example"].nunique()
    assert dict(counts) == {"test": 6, "validation": 4}
    draws = {"zeroshot": 1, "mle": 1, "laplace": 4, "laplace_kronecker": 4, "ensemble": 2}.get(method, 3)
    assert set(frame["draw"]) == set(range(draws))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_whole_model(load, model_folder, data_root, fit_spec, random_weights, family):
    base = load(family)
    data = read_choice_questions(data_root, "plots", "1")
    task = _image_task(base, data_root)
    adapted = _adapted(base, task, fit_spec)
    weights = [random_weights(adapted.stack, seed=seed) for seed in range(3)]
    found = predict(adapted, task, weights)
    for draw, adapter in enumerate(weights):
        whole = WholeModel(model_folder(family), family).merge(adapter)
        with torch.no_grad():
            expected = [whole.answer(question, _image(data, question)).numpy() for question in data.splits["test"]]
        np.testing.assert_allclose(found[draw], np.stack(expected), atol=2e-5, rtol=1e-5)
    blank = Image.new("RGB", (40, 24))
    question = data.splits["test"][0]
    with torch.no_grad():
        assert np.abs(whole.answer(question, blank).numpy() - found[2, 0]).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_answer_stacked_as_they_do_one_by_one(load, data_root, fit_spec, random_weights, family):
    base = load(family)
    task = _image_task(base, data_root)
    adapted = _adapted(base, task, fit_spec)
    weights = [random_weights(adapted.stack, seed=seed) for seed in range(3)]
    looped = np.concatenate([predict(adapted, task, [one]) for one in weights])
    np.testing.assert_allclose(predict(adapted, task, weights), looped, atol=1e-5)
    assert np.abs(looped[0] - looped[1]).max() > 1e-3


@pytest.mark.parametrize(("family", "method"), [("qwen3_vl", "blob"), ("gemma3", "mle")])
def test_seed_alone_learns_what_it_learns_in_a_block(runs, family, method):
    block_state, block = runs(family, method)
    alone_state, alone = runs(family, method, seeds=(1,))
    own = block.predictions.query("seed == 1").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone.predictions, atol=1e-4, rtol=1e-4)
    one, other = (read_posterior(state / "posterior" / "seed-1") for state in (block_state, alone_state))
    for path, pair in one.mean.pairs.items():
        torch.testing.assert_close(pair.a, other.mean.pairs[path].a, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(pair.b, other.mean.pairs[path].b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_jacobian_is_that_of_the_whole_model(load, model_folder, data_root, fit_spec, random_weights, family):
    from torch.func import functional_call

    base = load(family)
    data = read_choice_questions(data_root, "plots", "1")
    task = _image_task(base, data_root)
    adapted = _adapted(base, task, fit_spec, head=False)
    weights = random_weights(adapted.stack)
    found, _ = answer_jacobian(adapted, task, weights)
    whole = WholeModel(model_folder(family), family)
    path = "language_model.layers.1.self_attn.v_proj"
    frozen = {name: value.detach() for name, value in whole.model.named_parameters()}
    for other, pair in weights.pairs.items():
        frozen[f"model.{other}.weight"] = frozen[f"model.{other}.weight"] + weights.scaling * pair.b @ pair.a
    name, pair = f"model.{path}.weight", weights.pairs[path]
    start = frozen[name] - weights.scaling * pair.b @ pair.a
    for row in (0, 5):
        question = data.splits["test"][row]
        inputs = dict(whole.inputs(question, _image(data, question)))
        a, b = pair.a.clone().requires_grad_(), pair.b.clone().requires_grad_()
        changed = {**frozen, name: start + weights.scaling * b @ a}
        logits = functional_call(whole.model, changed, kwargs=inputs).logits[0, -1, whole.label_tokens]
        for output in range(1, 4):
            gradients = torch.autograd.grad(logits[output] - logits[0], [a, b], retain_graph=True)
            expected = torch.cat([gradient.flatten() for gradient in gradients])
            torch.testing.assert_close(found[path][row, output - 1], expected, atol=1e-4, rtol=1e-4)
            assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_vision_tower_sees_each_image_once_and_only_when_it_is_asked_about(load, data_root, fit_spec, family):
    base = load(family)
    tower = base.decoder.visual if family == "qwen3_vl" else base.decoder.vision_tower
    seen = []
    tower.register_forward_hook(lambda *_: seen.append(1))
    task = _image_task(base, data_root, "train")
    assert not seen
    adapted = _adapted(base, task, fit_spec, slots=2)
    for _ in range(2):
        predict(adapted, task.rows(np.array([0, 1, 4, 5, 6])), None)
    assert len(seen) == 3
    predict(adapted, task, None)
    assert len(seen) == 8


@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_read_as_if_no_image_had_been_seen(load, model_folder, data_root, fit_spec, random_weights, family):
    base = load(family)
    data = read_choice_questions(data_root, "letters", "1")
    task = task_for_model(data, "test", base, "instruct")
    assert task.shared_prefix > 0
    assert not task.images
    adapted = _adapted(base, task, fit_spec)
    weights = random_weights(adapted.stack)
    predict(adapted, _image_task(base, data_root), [weights])
    found = predict(adapted, task, [weights])[0]
    whole = WholeModel(model_folder(family), family).merge(weights)
    with torch.no_grad():
        expected = np.stack([whole.answer(question, None).numpy() for question in data.splits["test"]])
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)


def test_fit_to_images_answers_questions_in_words_and_the_other_way_round(runs):
    _, result = runs("qwen3_vl", "mle", seeds=(0,), evaluated="letters")
    assert result.predictions.query("split == 'test'")["example"].nunique() == 5
    _, result = runs("qwen3_vl", "mle", seeds=(0, 1), dataset="letters", evaluated="plots")
    assert result.predictions.query("split == 'test'")["example"].nunique() == 6
    assert np.isfinite(result.predictions[LOGITS].to_numpy()).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_stock_peft_puts_the_posterior_mean_on_the_whole_model(runs, model_folder, data_root, family):
    from peft import PeftModel

    state, result = runs(family, "blob", seeds=(0,), draws=0, lora={"rank": 2, "alpha": 4.0, "head": False})
    folder = state / "posterior" / "seed-0"
    whole = WholeModel(model_folder(family), family)
    data = read_choice_questions(data_root, "plots", "1")
    question = data.splits["test"][0]
    with torch.no_grad():
        before = whole.answer(question, _image(data, question))
    (configuration,) = folder.rglob("adapter_config.json")
    assert read_provenance(folder).module_prefix == "model"
    whole.model = PeftModel.from_pretrained(whole.model, str(configuration.parent)).eval()
    rows = result.predictions.query("split == 'test'").set_index("example")
    for question in data.splits["test"]:
        with torch.no_grad():
            expected = whole.answer(question, _image(data, question)).numpy()
        found = rows.loc[question.question_id, LOGITS].to_numpy(dtype=np.float64)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with torch.no_grad():
        question = data.splits["test"][0]
        assert (whole.answer(question, _image(data, question)) - before).abs().max() > 1e-3


def test_model_that_reads_only_is_told_so_before_it_trains(runs, make_context):
    with pytest.raises(ConfigurationError, match="'plots' have images, which this model cannot see"):
        runs("llama", "mle")
    assert make_context("fit-mle-2").checkpoints.latest() is None


def test_question_about_an_image_is_asked_in_a_chat_alone(runs):
    with pytest.raises(ConfigurationError, match=r"shown in a chat alone.*prompt\.form|prompt\.form.*chat alone"):
        runs("qwen3_vl", "mle", prompt={"form": "base"})


@pytest.mark.parametrize("family", FAMILIES)
def test_some_blocks_alone_of_a_model_that_sees_are_refused(load, data_root, fit_spec, family):
    base = load(family)
    with pytest.raises(ConfigurationError, match=r"lora\.top_blocks.*model that sees"):
        _adapted(base, _image_task(base, data_root), fit_spec, top_blocks=1)


def test_set_with_images_for_some_questions_alone_is_refused(load, data_root):
    data = read_choice_questions(data_root, "plots", "1")
    first, *others = data.splits["test"]
    mixed = replace(data, splits={"test": (replace(first, image=None), *others)})
    with pytest.raises(DataError, match="no stored image"):
        task_for_model(mixed, "test", load("qwen3_vl"), "instruct")


def test_prompt_of_text_alone_never_leaves_an_image_out(load, data_root):
    data = read_choice_questions(data_root, "plots", "1")
    with pytest.raises(DataError, match=r"question 'test-0'.*has an image"):
        answer_task(data, "test", load("qwen3_vl").tokenizer, "instruct")


def test_fit_to_generated_plots(runs, tmp_path):
    folder = tmp_path / "plots-1"
    splits, _ = draw_plot_questions(SeedBlocks(train=40, validation=10, test=20), folder / "images")
    _store(ChoiceQuestions("plots", "1", LABELS, "image_formula", splits, folder), folder)
    _, result = runs("qwen3_vl", "scalabl", seeds=(0,), root=tmp_path)
    assert result.predictions.query("split == 'test'")["example"].nunique() == 20
    assert np.isfinite(result.predictions[LOGITS].to_numpy()).all()
