"""`bayesgrid export` on posteriors of a tiny model: which adapter is written, with which base, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.draws import draw_adapter
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.adapters.peft_files import read_peft_adapter
from bayesgrid.adapters.posterior_files import PosteriorProvenance, read_posterior, write_posterior
from bayesgrid.cli import app
from bayesgrid.errors import ConfigurationError, DataError, StateError
from bayesgrid.grid.plan import make_plan
from bayesgrid.studies.bayesian_lora.evaluate import drawn_adapters, stream_seed
from bayesgrid.studies.bayesian_lora.exported_run import find_run
from bayesgrid.studies.bayesian_lora.laplace_draws import draw_laplace_adapter
from bayesgrid.studies.bayesian_lora.methods import posterior_fit
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

REPOSITORY = Path(__file__).parents[4]
FIT, EVALUATION = "tiny-letters-blob-s0-0123456789ab", "tiny-letters-blob-s0-ba9876543210"
LABELS, TOKENS = ("A", "B", "C"), (3, 4, 5)
ASKED = {"model": "tiny", "dataset": "letters", "method": "blob", "seeds": [0]}
COMMIT = "c1899de289a04d12100db370d81485cdf75e47ca"


@pytest.fixture
def state_root(tmp_path, monkeypatch, causal_model):
    """A state root with the prepared model ``tiny``, which the command line uses."""
    root = tmp_path / "state"
    folder = root / "models" / "tiny-r1"
    causal_model().save_pretrained(folder)
    _record(folder, {"kind": "wheel"})
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(root))
    monkeypatch.chdir(REPOSITORY)
    return root


def _record(folder, source):
    files = {path.name: {"bytes": path.stat().st_size} for path in folder.iterdir() if path.name != "model.json"}
    (folder / "model.json").write_text(json.dumps({"folder": None, "files": files, "source": source}))


@pytest.fixture
def fitted(state_root, causal_model):
    """A function that stores a posterior as a fit of one seed or several, and returns its folder."""

    def store(posterior, *, fit=FIT, seeds=(0,)):
        provenance = PosteriorProvenance(
            mode="correct",
            parametrisation="softplus",
            prior={},
            training_examples=10,
            seeds=seeds,
            parent_run=None,
            base_model="tiny",
            base_revision="r1",
            module_prefix="model",
            labels=LABELS,
            label_token_ids=TOKENS,
            head_rows=causal_model().lm_head.weight[list(TOKENS)].clone(),
        )
        for seed in seeds:
            write_posterior(state_root / fit / "posterior" / f"seed-{seed}", posterior, provenance)
        return state_root / fit / "posterior" / f"seed-{seeds[0]}"

    return store


@pytest.fixture
def posterior_of(adapted_model, fit_spec, random_weights):
    def build(method: str) -> AdapterPosterior:
        stack = adapted_model(fit_spec("mle")).stack
        mean = random_weights(stack)
        tensors = {}
        if method == "blob":
            tensors = {f"{n}.standard_deviation": torch.full_like(p.a, 0.1) for n, p in mean.pairs.items()}
        if method == "zeroshot":
            mean = stack.export(0)
        members = (mean, random_weights(stack, seed=1)) if method == "ensemble" else ()
        return AdapterPosterior(method, mean, tensors, {"dropout": 0.2} if method == "mcdropout" else {}, members)

    return build


def export(*arguments):
    done = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def exported(folder) -> dict[str, torch.Tensor]:
    head = load_file(folder / "head.safetensors")
    found = {"head.a": head["lora_A"], "head.b": head["lora_B"]}
    for name, pair in read_peft_adapter(folder, allow_inert=True).pairs.items():
        found |= {f"{name}.a": pair.a, f"{name}.b": pair.b}
    return found


def assert_exported(folder, weights: AdapterWeights) -> None:
    found = exported(folder)
    assert len(found) == 2 * len(weights.pairs)
    for name, pair in weights.pairs.items():
        stored = name.replace("answer_head", "head")
        assert torch.equal(found[f"{stored}.a"], pair.a)
        assert torch.equal(found[f"{stored}.b"], pair.b)


def origin(folder) -> dict:
    return json.loads((folder / "draw.json").read_text())


@pytest.mark.parametrize("method", ["zeroshot", "mle", "map"])
def test_a_point_has_one_draw(method, fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of(method))
    for name, arguments in (("plain", ()), ("first", ("--draw", 0))):
        assert f"the adapter ({method} is a point) of {FIT}" in export(FIT, tmp_path / name, *arguments)
        assert_exported(tmp_path / name, read_posterior(folder).mean)
    with pytest.raises(ConfigurationError, match=r"a point, which has one draw.*given: 3; allowed: 0"):
        export(FIT, tmp_path / "third", "--draw", 3)
    assert not (tmp_path / "third").exists()


def test_without_a_draw_the_mean_is_written_and_named(fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of("blob"))
    assert "the posterior mean (--draw names a draw)" in export(FIT[-12:], tmp_path / "mean")
    assert_exported(tmp_path / "mean", read_posterior(folder).mean)
    assert origin(tmp_path / "mean")["draw"] is None
    assert "draw 3 of" in export(FIT, tmp_path / "draw", "--draw", 3)
    assert_exported(tmp_path / "draw", draw_adapter(read_posterior(folder), 3, seed=0))
    export(FIT, tmp_path / "other", "--draw", 3, "--stream", 7)
    assert_exported(tmp_path / "other", draw_adapter(read_posterior(folder), 3, seed=7))


def test_the_head_is_named_only_where_it_is_adapted(fitted, posterior_of, tmp_path):
    mean = posterior_of("mle").mean
    decoder = {name: pair for name, pair in mean.pairs.items() if name != "answer_head"}
    fitted(AdapterPosterior("mle", AdapterWeights(decoder, mean.scaling)))
    assert "head.safetensors" not in export(FIT, tmp_path / "decoder")
    fitted(AdapterPosterior("mle", mean))
    assert "head.safetensors" in export(FIT, tmp_path / "both")


def test_the_draws_of_an_ensemble_are_its_members(fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of("ensemble"))
    members = read_posterior(folder).members
    assert "member 0 (an ensemble has no mean" in export(FIT, tmp_path / "mean")
    assert_exported(tmp_path / "mean", members[0])
    export(FIT, tmp_path / "member", "--draw", 1)
    assert_exported(tmp_path / "member", members[1])
    with pytest.raises(ConfigurationError, match=r"2 members.*given: 2; allowed: 0 to 1"):
        export(FIT, tmp_path / "third", "--draw", 2)


def test_seeds_that_the_fit_lacks_are_refused_with_those_it_has(fitted, posterior_of, tmp_path):
    fitted(posterior_of("blob"), seeds=(2, 10))
    with pytest.raises(ConfigurationError, match=r"several seeds.*allowed: 2, 10; name one with --seed"):
        export(FIT, tmp_path / "export")
    with pytest.raises(ConfigurationError, match=r"no such seed.*given: 3; allowed: 2, 10"):
        export(FIT, tmp_path / "export", "--seed", 3)
    export(FIT, tmp_path / "export", "--seed", 10)
    assert origin(tmp_path / "export")["seed"] == 10


def _evaluation(state_root, parameters, fit=FIT):
    folder = state_root / EVALUATION / "finished"
    folder.mkdir(parents=True)
    job = {"run": EVALUATION, "study": "bayesian_lora", "parameters": parameters, "needs": {"fit": fit}}
    (folder / "manifest.json").write_text(json.dumps({"job": job}))


@pytest.mark.parametrize(
    "evaluation",
    [{}, {"trial": 2}, {"scope": "head"}, {"antithetic": True}],
    ids=lambda evaluation: next(iter(evaluation), "plain"),
)
def test_a_draw_named_by_an_evaluation_is_its_own(evaluation, state_root, fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of("blob"))
    parameters = {**ASKED, "evaluation": {"draws": 4, **evaluation}}
    _evaluation(state_root, parameters)
    spec = BayesianLoraSpec.from_parameters(parameters, where="test")
    answering = drawn_adapters(spec, read_posterior(folder), 0)
    for index in (0, 3):
        export(EVALUATION, tmp_path / str(index), "--draw", index)
        assert_exported(tmp_path / str(index), answering[index])
    assert origin(tmp_path / "3")["fit"] == FIT
    assert origin(tmp_path / "3")["stream"] == stream_seed(spec, 0)


def warned(*arguments):
    done = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [line for line in done.stderr.splitlines() if "WARNING bayesgrid" in line]


def test_a_draw_that_the_evaluation_does_not_have_is_written_and_said_to_be_none_of_it(
    state_root, fitted, posterior_of, tmp_path
):
    folder = fitted(posterior_of("blob"))
    _evaluation(state_root, {**ASKED, "evaluation": {"draws": 4}})
    assert warned(EVALUATION, tmp_path / "own", "--draw", 3) == []
    assert warned(FIT, tmp_path / "fit", "--draw", 9) == []
    (line,) = warned(EVALUATION, tmp_path / "beyond", "--draw", 9)
    assert "the evaluation itself has only 4 draws, 0 to 3; draw 9 is one of its fit" in line
    stream = origin(tmp_path / "beyond")["stream"]
    assert_exported(tmp_path / "beyond", draw_adapter(read_posterior(folder), 9, seed=stream))


@pytest.mark.parametrize("precision", [1e9, 1e-9])
@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
def test_laplace_draws_as_wide_as_the_prior_are_warned_of(
    method, precision, fitted, posterior_of, adapted_model, fit_spec, make_task, make_context, tmp_path
):
    spec = fit_spec(method, laplace={"prior_precision": precision})
    parent = AdapterPosterior("mle", posterior_of("blob").mean)
    fit = posterior_fit(spec)(spec, parent, adapted_model(spec), make_task(12), 0, make_context())
    fitted(fit.posterior)
    lines = warned(FIT, tmp_path / "export", "--draw", 0)
    # Twelve questions leave most directions of the exact curvature to the prior, however wide that is.
    assert len(lines) == (1 if precision > 1 or method == "laplace" else 0)
    assert all("as wide as the prior in most directions" in line for line in lines)
    assert warned(FIT, tmp_path / "mean") == []


def test_noise_of_the_reference_is_no_draw_of_the_evaluation(state_root, fitted, posterior_of, tmp_path):
    fitted(posterior_of("blob"))
    _evaluation(state_root, {**ASKED, "mode": "faithful"})
    assert "fresh noise for every batch" in export(EVALUATION, tmp_path / "draw", "--draw", 0)
    assert "fresh noise" not in export(FIT, tmp_path / "fit", "--draw", 0)


def test_a_planned_evaluation_names_its_fit(state_root, fitted, posterior_of):
    plan = make_plan(REPOSITORY / "config", ["demo_bayesian_lora"])
    run = next(run for run in plan.of_study("bayesian_lora") if run.spec.method == "blob")
    with pytest.raises(StateError, match=f"{run.needs['fit']}: the fit has not been computed here"):
        find_run(state_root, run.run_id, lambda: plan)
    with pytest.raises(StateError, match="has not been computed here"):
        find_run(state_root, run.needs["fit"], lambda: plan)
    fitted(posterior_of("blob"), fit=run.needs["fit"])
    found = find_run(state_root, run.run_id[-12:], lambda: plan)
    assert (found.fit, found.evaluation) == (run.needs["fit"], run.spec)


def test_runs_that_have_no_posterior_are_refused(state_root, fitted, posterior_of, tmp_path):
    fitted(posterior_of("blob"))
    fitted(posterior_of("blob"), fit=f"other-{FIT}")
    with pytest.raises(ConfigurationError, match="2 runs end with this id"):
        export(FIT[-12:], tmp_path / "export")
    with pytest.raises(ConfigurationError, match=r"no run has this id.*did you mean"):
        export(FIT.replace("blob", "blub"), tmp_path / "export")
    regression = make_plan(REPOSITORY / "config", ["demo"])
    with pytest.raises(ConfigurationError, match="leaves no posterior over adapters"):
        find_run(state_root, next(iter(regression.runs)), lambda: regression)
    manifest = state_root / EVALUATION / "finished" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    with pytest.raises(StateError, match=r"manifest\.json: the manifest of the run is damaged"):
        export(EVALUATION, tmp_path / "export")


def test_a_full_folder_is_replaced_on_demand_only(state_root, fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of("blob"))
    export(FIT, tmp_path / "export", "--draw", 1)
    with pytest.raises(StateError, match=r"holds an earlier export.*--overwrite"):
        export(FIT, tmp_path / "export", "--draw", 2)
    assert_exported(tmp_path / "export", draw_adapter(read_posterior(folder), 1, seed=0))
    export(FIT, tmp_path / "export", "--draw", 2, "--overwrite")
    assert_exported(tmp_path / "export", draw_adapter(read_posterior(folder), 2, seed=0))
    for own in (folder, folder / "adapter", state_root / FIT / "export"):
        with pytest.raises(StateError, match="the fit's own folder"):
            export(FIT, own, "--overwrite")
    read_posterior(folder)


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_posterior_writes_nothing(damage, fitted, posterior_of, tmp_path):
    path = fitted(posterior_of("blob")) / "posterior.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-9])
    with pytest.raises(StateError, match=r"posterior\.safetensors: a file of the posterior"):
        export(FIT, tmp_path / "export", "--draw", 0)
    assert not (tmp_path / "export").exists()


def _base(folder) -> tuple[str, str | None]:
    configuration = json.loads((folder / "adapter_config.json").read_text())
    return configuration["base_model_name_or_path"], configuration["revision"]


def test_the_base_is_where_the_model_came_from(state_root, fitted, posterior_of, tmp_path):
    folder = fitted(posterior_of("blob"))
    stored = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    prepared = state_root / "models" / "tiny-r1"
    export(FIT, tmp_path / "folder")
    assert _base(tmp_path / "folder") == (str(prepared.resolve()), None)
    _record(prepared, {"kind": "hub", "repo": "Qwen/Qwen3-0.6B", "revision": COMMIT})
    assert f"base model: Qwen/Qwen3-0.6B@{COMMIT}" in export(FIT, tmp_path / "hub")
    assert _base(tmp_path / "hub") == ("Qwen/Qwen3-0.6B", COMMIT)
    prepared.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"not prepared.*--base"):
        export(FIT, tmp_path / "none")
    export(FIT, tmp_path / "named", "--base", tmp_path / "moved")
    assert _base(tmp_path / "named") == (str(tmp_path / "moved"), None)
    export(FIT, tmp_path / "repository", "--base", "org/name@v1.0")
    assert _base(tmp_path / "repository") == ("org/name", "v1.0")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == stored
    assert _base(folder / "adapter") == ("tiny", "r1")


def test_a_base_that_does_not_fit_is_refused(fitted, posterior_of, tmp_path):
    fitted(posterior_of("blob"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "config.json").write_text('{"text_config": {"hidden_size": 64}}')
    for base, message in (
        (tmp_path / "absent", "no such base model"),
        ("org/name", "ORG/NAME@REVISION"),
        (tmp_path / "empty", r"config\.json is missing"),
        (tmp_path / "wide", "differ in width; given: 64; allowed: 32"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            export(FIT, tmp_path / "export", "--base", base)
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("method", ["blob", "laplace", "laplace_kronecker"])
def test_auto_peft_answers_with_the_draw(
    method, state_root, fitted, posterior_of, adapted_model, fit_spec, make_task, make_context, tmp_path
):
    from peft import AutoPeftModelForCausalLM

    spec = fit_spec(method, laplace={"prior_precision": 10.0})
    adapted, task = adapted_model(spec), make_task(12)
    posterior = posterior_of("blob")
    if method != "blob":
        parent = AdapterPosterior("mle", posterior.mean)
        posterior = posterior_fit(spec)(spec, parent, adapted, task, 0, make_context()).posterior
    folder = fitted(posterior)
    said = export(FIT, tmp_path / "export", "--draw", 3)
    assert ("linearised" in said) is (method != "blob")

    stored = read_posterior(folder)
    draw = draw_adapter if method == "blob" else draw_laplace_adapter
    assert_exported(tmp_path / "export", draw(stored, 3, seed=0))
    expected = predict(adapted, task, [draw(stored, 3, seed=0)])[0]
    assert np.abs(expected - predict(adapted, task, [stored.mean])[0]).max() > 1e-2
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32).eval()
    head = load_file(tmp_path / "export" / "head.safetensors")
    scaling = model.peft_config["default"].lora_alpha / model.peft_config["default"].r
    rows = head["base_rows"] + scaling * head["lora_B"] @ head["lora_A"]
    with torch.no_grad():
        states = [
            model.get_base_model().model(input_ids=torch.from_numpy(prompt)[None]).last_hidden_state[0, -1]
            for prompt in task.prompts
        ]
    np.testing.assert_allclose((torch.stack(states) @ rows.T).numpy(), expected, atol=1e-5, rtol=1e-5)
