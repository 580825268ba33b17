import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.adapters.posterior_files import read_posterior, read_provenance
from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.data.choice_questions import ChoiceQuestion, ChoiceQuestions, write_choice_questions
from bayesgrid.data.prepared_folders import PROVENANCE_FILE
from bayesgrid.errors import DataError
from bayesgrid.grid.identity import identity_record, run_id
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora import evaluate, fit
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

CASES = [
    ("zeroshot", "correct"),
    ("mle", "correct"),
    ("map", "correct"),
    ("mcdropout", "correct"),
    ("mcdropout", "faithful"),
    ("ensemble", "correct"),
    ("blob", "correct"),
    ("blob", "faithful"),
    ("scalabl", "correct"),
    ("scalabl", "faithful"),
    ("ivon", "correct"),
    ("tfb", "correct"),
    ("tfb", "faithful"),
    ("laplace", "correct"),
    ("laplace_kronecker", "correct"),
    ("laplace_kronecker", "faithful"),
]
LETTERS = ("A", "B", "C", "D")
OTHER = ("C", "A", "E")
"""Another order, and one label that is not trained on."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<user>' + message.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<model>' }}{% endif %}"
)


def _tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<unk>", "<pad>", "<bos>", "<eos>", "<user>", "<model>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    text = "Pick the right option for this question. Reply with its letter and nothing else. Choices: A) B) C) D) E)"
    core.train_from_iterator([text] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[4:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    import transformers as t

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    configuration = t.LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    t.LlamaForCausalLM(configuration).save_pretrained(str(folder))
    _tokenizer(folder)
    return folder


def _questions(name, labels, splits, seed):
    draw = np.random.default_rng(seed)
    words = ["letter", "choice", "output", "answer", "question", "below", "only", "the"]

    def one(split, number):
        count = int(draw.integers(2, len(labels) + 1))
        options = tuple(" ".join(draw.choice(words, 2)) for _ in range(count))
        return ChoiceQuestion(f"{split}-{number}", " ".join(draw.choice(words, 4)), options, int(draw.integers(count)))

    made = {split: tuple(one(split, number) for number in range(count)) for split, count in splits.items()}
    return ChoiceQuestions(name, "1", labels, "lettered_choices", made)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for questions in (
        _questions("letters", LETTERS, {"train": 24, "test": 9}, 0),
        _questions("other", OTHER, {"test": 7}, 1),
    ):
        folder = root / f"{questions.name}-1"
        folder.mkdir()
        write_choice_questions(questions, folder)
        digest = sha256_of_file(folder / "questions.parquet")
        record = {"parquet_sha256": digest, "name": questions.name, "labels": list(questions.labels)}
        record["template"] = questions.template
        (folder / PROVENANCE_FILE).write_text(json.dumps(record))
    return root


@pytest.fixture
def runs(model_folder, data_root, make_context, tmp_path):
    """Functions that fit and evaluate a method on the tiny model, and the inputs of both."""

    def values(method, mode, **groups):
        return {
            "model": "tiny",
            "dataset": "letters",
            "method": method,
            "mode": mode,
            "seeds": [0, 1],
            "precision": "float32",
            "lora": {"rank": 6, "alpha": 12.0},
            "training": {"steps": 12, "learning_rate": 0.01, "batch_size": 4},
            "labels": {"validation_fraction": 0.25},
            "ensemble": {"members": 2},
            "width": {"draws": 3, "anchors": 8},
            "laplace": {"logit_draws": 8},
            "ivon": {"effective_sample_size": 1e6},
            **groups,
        }

    def inputs(needs):
        return RunInputs(
            data=data_root,
            data_versions={"letters": "1", "other": "1"},
            needs=needs,
            model=model_folder,
            model_revision="0",
            cache=tmp_path / "cache",
        )

    def finished(context, result):
        folder = context.state / "finished"
        folder.mkdir(parents=True, exist_ok=True)
        result.metrics.to_parquet(folder / "metrics.parquet")
        return context.state

    def fitted(spec, name="fit"):
        context = make_context(f"{name}-{spec.method}-{spec.mode}")
        needs = {role: fitted(parent, "parent")[0] for role, parent in spec.needs().items()}
        result = fit.run(spec, context, inputs(needs))
        return finished(context, result), result

    def specification(method, mode="correct", evaluation=None, **groups):
        return BayesianLoraSpec.from_parameters(
            {**values(method, mode, **groups), "evaluation": {"draws": 3, **(evaluation or {})}}, where="test"
        )

    def run(method, mode="correct", evaluation=None, state=None, **groups):
        spec = specification(method, mode, evaluation, **groups)
        folder, fit_result = (state, None) if state else fitted(spec.fit())
        context = make_context(f"evaluation-{abs(hash(json.dumps(evaluation, sort_keys=True)))}")
        return folder, fit_result, evaluate.run(spec, context, inputs({"fit": folder}))

    run.specification = specification
    return run


def _check_predictions(frame, spec_labels, draws, split, seeds=(0, 1)):
    rows = frame[frame["split"] == split]
    assert sorted(rows["seed"].unique()) == list(seeds)
    assert rows.groupby(["seed", "example"])["draw"].apply(list).map(lambda d: d == list(range(draws))).all()
    logits = rows[[f"logit_{label}" for label in range(len(spec_labels))]]
    assert logits.dtypes.eq("float64").all()
    assert np.isfinite(logits.to_numpy()).all()
    assert ((rows["answer"] < rows["options"]) & (rows["options"] <= len(spec_labels))).all()


def _draws(method):
    return {"zeroshot": 1, "mle": 1, "map": 1, "ensemble": 2, "laplace": 8, "laplace_kronecker": 8}.get(method, 3)


@pytest.mark.parametrize(("method", "mode"), CASES)
def test_every_method_is_fitted_and_evaluated_on_its_own_and_on_another_set(runs, method, mode):
    state, fitted, own = runs(method, mode)
    metrics = fitted.metrics
    assert list(metrics.columns) == ["seed", "split", "metric", "value"]
    assert np.isfinite(metrics["value"]).all()
    assert set(metrics["split"]) == {"train", "validation"}
    assert {"trained_parameters", "posterior_bytes", "labels_used"} <= set(metrics["metric"])
    assert (metrics.loc[metrics["metric"] == "labels_used", "value"] == 24).all()
    _check_predictions(fitted.predictions, LETTERS, 1, "validation")
    names = set(metrics.loc[metrics["split"] == "train", "metric"])
    trained = method in ("mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "ivon")
    assert ("collapsed" in names) is trained
    assert ({"data_free_deviation", "width_is_data_free"} <= names) is (method in ("blob", "scalabl"))

    draws = _draws(method)
    assert np.isfinite(own.metrics["value"]).all()
    assert set(own.metrics["split"]) == {"test"}
    assert {"accuracy", "nll", "tempered_nll", "inverse_temperature", "coverage_90", "seconds_per_example"} <= set(
        own.metrics["metric"]
    )
    costs = own.metrics.pivot_table(index="seed", columns="metric", values="value")
    assert (costs["seconds_per_example_p50"] <= costs["seconds_per_example_p95"]).all()
    assert (costs["prediction_memory_mb"] < costs["peak_memory_mb"]).all()
    assert (costs["warm_up_batches"] >= 1).all()
    assert (costs["tokens_per_second"] * costs["seconds_per_example"] > 10).all()
    for split, count in (("validation", 6), ("test", 9)):
        _check_predictions(own.predictions, LETTERS, draws, split)
        assert (own.predictions["split"] == split).sum() == 2 * count * draws

    _, _, other = runs(method, mode, {"dataset": "other"}, state=state)
    assert np.isfinite(other.metrics["value"]).all()
    _check_predictions(other.predictions, OTHER, draws, "test")
    _check_predictions(other.predictions, LETTERS, draws, "validation")
    # Another evaluated set changes nothing about the answers on the held-out labels.
    columns = [f"logit_{label}" for label in range(4)]
    for one, two in zip(own.predictions.groupby("seed"), other.predictions.groupby("seed"), strict=True):
        own_rows, other_rows = (frame[frame["split"] == "validation"][columns].to_numpy() for _, frame in (one, two))
        np.testing.assert_allclose(other_rows, own_rows, atol=1e-4, rtol=1e-4)


def test_second_call_reuses_the_answers_of_the_first(runs):
    state, _, first = runs("blob")
    written = {path: path.stat().st_mtime_ns for path in state.rglob("seed-*/*")}
    _, _, second = runs("blob", state=state)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    pd.testing.assert_frame_equal(
        first.metrics[first.metrics["metric"] != "peak_memory_mb"].reset_index(drop=True),
        second.metrics[second.metrics["metric"] != "peak_memory_mb"].reset_index(drop=True),
    )
    assert {path: path.stat().st_mtime_ns for path in state.rglob("seed-*/*")} == written


def test_answers_to_another_set_belong_to_its_labels(runs, data_root, model_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bayesgrid.data.choice_questions import read_choice_questions
    from bayesgrid.data.prompt_templates import render_prompt

    state, _, result = runs("mle", evaluation={"dataset": "other"})
    posterior = read_posterior(state / "posterior" / "seed-1")
    tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
    whole = AutoModelForCausalLM.from_pretrained(str(model_folder))
    head = whole.lm_head.weight.detach().clone()
    with torch.no_grad():
        for path, pair in posterior.mean.pairs.items():
            update = posterior.mean.scaling * pair.b @ pair.a
            if path == "answer_head":
                for label, row in zip(read_provenance(state / "posterior" / "seed-1").labels, update, strict=True):
                    head[tokenizer.convert_tokens_to_ids(label)] += row
            else:
                whole.model.get_submodule(path).weight += update
    questions = read_choice_questions(data_root, "other", "1").splits["test"]
    rows = result.predictions.query("split == 'test' and seed == 1").set_index("example")
    for question in questions:
        text = f"<user>{render_prompt('lettered_choices', question, OTHER)}<model>"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            state_of_last = whole.model(input_ids=ids).last_hidden_state[0, -1]
        expected = head[tokenizer.convert_tokens_to_ids(list(OTHER))] @ state_of_last
        found = rows.loc[question.question_id, ["logit_0", "logit_1", "logit_2"]].to_numpy(dtype=np.float64)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_more_draws_leave_the_first_ones_as_they_are(runs):
    state, _, three = runs("scalabl")
    _, _, five = runs("scalabl", evaluation={"draws": 5}, state=state)
    kept = five.predictions[five.predictions["draw"] < 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, three.predictions, atol=1e-4)


@pytest.mark.parametrize("method", ["blob", "laplace", "tfb"])
def test_no_draws_answer_with_the_mean(runs, method):
    _, fitted, result = runs(method, evaluation={"draws": 0})
    frame = result.predictions
    assert set(frame["draw"]) == {0}
    columns = [f"logit_{label}" for label in range(4)]
    mean = frame[frame["split"] == "validation"][columns].to_numpy()
    np.testing.assert_allclose(mean, fitted.predictions[columns].to_numpy(), atol=1e-4)


def test_trials_draw_anew_and_widths_do_not(runs):
    state, _, first = runs("blob")
    _, _, second = runs("blob", evaluation={"trial": 1}, state=state)
    difference = (first.predictions["logit_0"] - second.predictions["logit_0"]).abs()
    assert difference.max() > 1e-5


def test_tfb_starts_from_its_parents_product(runs, tmp_path):
    state, _, _ = runs("tfb")
    widened = read_posterior(state / "posterior" / "seed-0")
    parent = read_posterior(tmp_path / "parent-mle-correct" / "posterior" / "seed-0")
    for path, pair in parent.mean.pairs.items():
        own = widened.mean.pairs[path]
        torch.testing.assert_close(own.b @ own.a, pair.b @ pair.a, atol=1e-6, rtol=1e-5)
    assert read_provenance(state / "posterior" / "seed-0").parent_run == "parent-mle-correct"


@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
@pytest.mark.parametrize("chosen", ["evidence", "parent"])
def test_laplace_reports_the_precisions_of_its_prior_of_the_evidence_and_of_its_parent(runs, method, chosen):
    groups = {"laplace": {"logit_draws": 4, "prior_precision": chosen}, "map": {"standard_deviation": 0.5}}
    _, fitted, _ = runs(method, seeds=[0], **groups)
    values = fitted.metrics[fitted.metrics["split"] == "train"].set_index("metric")["value"]
    assert values["parent_prior_precision"] == 4.0
    assert values["prior_precision"] == values[f"{chosen}_prior_precision"]
    assert abs(values["evidence_prior_precision"] - 4.0) > 0.1


def test_one_answer_for_all_labels_is_nothing_to_learn(runs, monkeypatch):
    from bayesgrid.studies.bayesian_lora import run_inputs

    original = run_inputs.answer_task

    def one_answer(data, split, tokenizer, form):
        task = original(data, split, tokenizer, form)
        task.answers[:] = 1
        return task

    monkeypatch.setattr(run_inputs, "answer_task", one_answer)
    with pytest.raises(DataError, match="all training labels are the same"):
        runs("mle")


def test_draws_of_a_fit_scatter_about_its_mean(runs):
    state, _, _ = runs("ivon")
    posterior = read_posterior(state / "posterior" / "seed-0")
    drawn = list(draw_adapters(posterior, range(400), seed=0))
    path = next(iter(posterior.mean.pairs))
    stacked = torch.stack([one.pairs[path].b for one in drawn])
    deviation = posterior.tensors[f"{path}.b_standard_deviation"]
    torch.testing.assert_close(stacked.std(0).mean(), deviation.mean(), rtol=0.05, atol=0)
    assert Path(state / "posterior" / "seed-1").is_dir()


@pytest.mark.filterwarnings("error:Mean of empty slice")
def test_seed_that_stops_early_reports_the_loss_of_its_own_last_steps(runs, tmp_path):
    training = {
        "steps": 90,
        "learning_rate": 0.1,
        "early_stopping": "restore_best",
        "evaluate_every": 3,
        "patience": 2,
    }
    _, fitted, _ = runs("mle", training=training)
    losses = fitted.metrics.query("metric == 'nll' and split == 'train'")["value"]
    assert (fitted.metrics.query("metric == 'stopped_at'")["value"] < 34).all()
    assert np.isfinite(fitted.metrics["value"]).all()
    assert (losses > 0).all()


def _job(spec, needs):
    record = identity_record(spec, data_versions={"letters": "1"}, model_revision="r", needs=needs)
    return {
        "run": run_id(spec.slug(), record),
        "study": spec.study,
        "parameters": spec.sparse_parameters(),
        "data_versions": {"letters": "1"},
        "needs": needs,
        "model_revision": "r",
    }


def _project(root, model_folder, data_root):
    (root / "config" / "experiments").mkdir(parents=True)
    (root / "Snakefile").touch()
    state = root / "results" / "state"
    shutil.copytree(data_root, state / "data")
    (state / "models" / "tiny-r").mkdir(parents=True)
    (state / "models" / "tiny-r" / "model.json").write_text(json.dumps({"folder": str(model_folder), "files": {}}))
    configuration = json.loads((Path(__file__).parents[4] / "config" / "deepspeed" / "zero3.json").read_text())
    # Even the smallest layers are divided, and given back after use.
    configuration["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    (root / "zero3.json").write_text(json.dumps(configuration))
    return state


def _tensors(folder):
    from safetensors.torch import load_file

    return {
        f"{path.relative_to(folder)}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_job_in_two_processes_writes_what_one_process_writes(runs, model_folder, data_root, tmp_path):
    pytest.importorskip("deepspeed")
    training = {"steps": 6, "learning_rate": 0.01, "early_stopping": "restore_best", "evaluate_every": 2}
    alone, fitted, own = runs("blob", training=training)
    project = tmp_path / "project"
    state = _project(project, model_folder, data_root)
    evaluation = runs.specification("blob", training=training)
    fit_job = _job(evaluation.fit(), {})
    evaluation_job = _job(evaluation, {"fit": fit_job["run"]})
    settings = {"experiments": [], "sharding": {"processes": {"tiny": 2}, "configuration": "zero3.json"}}
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    for job in (fit_job, evaluation_job):
        command = ["run", "--job", json.dumps(job), "--project", str(project), "--settings", json.dumps(settings)]
        said = subprocess.run(
            [sys.executable, "-m", "bayesgrid.cli", *command],
            env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr[-3000:]
    wanted, found = _tensors(alone / "posterior"), _tensors(state / fit_job["run"] / "posterior")
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
    for job, expected in ((fit_job, fitted), (evaluation_job, own)):
        published = project / "results" / "runs" / job["study"] / job["run"]
        answers = pd.read_parquet(published / "predictions.parquet")
        pd.testing.assert_frame_equal(answers, expected.predictions, check_dtype=False, rtol=1e-3, atol=1e-3)
        assert json.loads((published / "manifest.json").read_text())["run"] == job["run"]
        assert not (state / "cache").exists()
