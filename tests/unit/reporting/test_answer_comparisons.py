import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.metrics.bootstrap import hierarchical_interval
from bayesgrid.reporting.answer_evidence import AnswerEvidence, scores_difference
from bayesgrid.reporting.claims import Claim, evaluate_claims
from bayesgrid.reporting.collect import RunRecord

PROJECT = Path(__file__).parents[3]
QUESTIONS = 400
CELL = {"model": "a_model", "datasets": ["obqa"]}


def verdict(comparison, runs, *, study="bayesian_lora", experiment="answers", **test):
    values = {
        "name": "a_claim",
        "study": study,
        "statement": "A statement",
        "source": "A paper, table 1",
        "source_kind": "paper",
        "comparison": comparison,
        "tests": [{"experiment": experiment, **test}],
    }
    return evaluate_claims([validate_parameters(Claim, values, where="test")], runs).iloc[0]


@pytest.fixture
def scored(answers, tmp_path):
    """Writes a run of two-option questions that are answered rightly where ``right`` [S, N] says so."""

    def write(right, *, method="mle", confidence=0.9, metrics=None, dataset="obqa", **options):
        right = np.asarray(right, dtype=bool)
        strength = math.log(confidence / (1 - confidence))
        truth = np.zeros(right.shape[1], dtype=np.int64)
        frames = []
        for seed, own in enumerate(right):
            logits = np.where(own, strength, -strength)[None, :, None] * np.array([1.0, 0.0])
            frames.append(answers.frame_of(seed, logits, truth, truth + 2))
        return answers.make_answers(
            tmp_path,
            method=method,
            model="a_model",
            dataset=dataset,
            seeds=range(len(right)),
            predictions=pd.concat(frames, ignore_index=True),
            metrics=metrics,
            **options,
        )

    return write


def first_right(*counts, questions=QUESTIONS):
    """Return [S, N] with as many right answers at the front as ``counts`` says; so the same questions are hard."""
    return np.arange(questions) < np.asarray(counts)[:, None]


def value(metric="accuracy", number=0.8, tolerance=0.01, method="mle"):
    return {
        "kind": "answer_value",
        **CELL,
        "metric": metric,
        "method": method,
        "number": number,
        "tolerance": tolerance,
    }


def ordering(lower, higher, metric="accuracy", **more):
    return {"kind": "answer_ordering", **CELL, "metric": metric, "lower": lower, "higher": higher, **more}


# The standard error over 400 questions is about 0.02, so the interval is about 0.04 to both sides.
@pytest.mark.parametrize(
    ("number", "tolerance", "expected"),
    [
        (0.805, 0.01, "reproduced"),
        (0.83, 0.01, "within interval"),
        (0.87, 0.05, "within interval"),
        (0.90, 0.01, "not reproduced"),
        (0.70, 0.01, "not reproduced"),
    ],
)
def test_a_value(scored, number, tolerance, expected):
    row = verdict(value(number=number, tolerance=tolerance), [scored(first_right(320, 318, 322, 320))])
    assert (row["verdict"], row["seeds"]) == (expected, 4)
    assert row["estimate"] == pytest.approx(0.8)


def test_the_interval_is_that_of_a_mean_over_crossed_seeds_and_questions(scored):
    right = np.random.default_rng(1).random((4, QUESTIONS)) < np.linspace(0.5, 0.9, QUESTIONS)
    row = verdict(value(), [scored(right)])
    generator = np.random.default_rng(2)
    expected = hierarchical_interval(right.astype(float), generator=generator, method="student", replicates=20_000)
    assert row["upper"] - row["lower"] == pytest.approx(expected.upper - expected.lower, rel=0.05)


def test_trials_of_a_seed_are_averaged_and_are_no_further_seeds(scored):
    runs = [
        scored(first_right(*counts), method="blob", settings={"evaluation.trial": trial})
        for trial, counts in enumerate([(320, 300), (340, 280)])
    ]
    row = verdict(value(method="blob", number=0.775), runs)
    assert (row["seeds"], row["estimate"]) == (2, pytest.approx(0.775))
    by_seed = scored(first_right(330, 290), method="mle")
    expected = verdict(value(number=0.775), [by_seed])
    assert (row["lower"], row["upper"]) == pytest.approx((expected["lower"], expected["upper"]), abs=0.02)


def test_a_seed_that_is_read_twice_is_a_state_error(scored, tmp_path):
    run = scored(first_right(300, 320))
    with pytest.raises(StateError, match="twice"):
        AnswerEvidence().metric([run, run], "obqa", "accuracy", temperature=False)


def test_questions_of_one_group_are_drawn_together(scored):
    # Pictures of forty questions, each answered rightly as a whole or not at all.
    run = scored(np.tile(np.repeat(np.random.default_rng(4).random(10) < 0.6, 40), (2, 1)))
    plain = verdict(value(), [run])
    path = run.folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.assign(group=[f"picture-{int(name[-4:]) // 40}" for name in frame["example"]]).to_parquet(path)
    grouped = verdict(value(), [run])
    assert grouped["estimate"] == plain["estimate"]
    assert grouped["upper"] - grouped["lower"] > 4 * (plain["upper"] - plain["lower"])
    other = scored(first_right(200, 220), method="map")
    row = verdict(ordering("map", "mle"), [run, other])
    assert (row["verdict"], "groups" in row["finding"]) == ("not run", True)


def test_nll_is_that_of_the_stated_probability(scored):
    row = verdict(value("nll", number=1.0), [scored(first_right(300, 300), confidence=0.9)])
    assert row["estimate"] == pytest.approx(-(0.75 * math.log(0.9) + 0.25 * math.log(0.1)))


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (0.45, 0.56, "reproduced"),
        (0.49, 0.51, "within interval"),
        (0.52, None, "within interval"),
        (None, 0.56, "reproduced"),
        (0.6, None, "not reproduced"),
        (None, 0.4, "not reproduced"),
    ],
)
def test_a_range(scored, lowest, highest, expected):
    comparison = {"kind": "answer_range", **CELL, "metric": "accuracy", "method": "mle"}
    bounds = {"lowest": lowest, "highest": highest}
    comparison |= {key: bound for key, bound in bounds.items() if bound is not None}
    run = scored(np.random.default_rng(3).permuted(first_right(800, 800, questions=1600), axis=1))
    assert verdict(comparison, [run])["verdict"] == expected


@pytest.mark.parametrize(
    ("lower", "higher", "margin", "expected"),
    [
        ("mle", "blob", 0.0, "reproduced"),
        ("mle", "blob", 0.04, "within interval"),
        ("mle", "blob", 0.1, "not reproduced"),
        ("blob", "mle", 0.0, "not reproduced"),
        ("blob", "mle", -0.1, "reproduced"),
    ],
)
def test_an_ordering_is_paired_by_question_and_says_which_value_is_lower(scored, lower, higher, margin, expected):
    # Both methods fail on the same questions but for 16 of 400: unpaired, a difference of 0.04 would be lost in ± 0.06.
    runs = [scored(first_right(240, 244, 236)), scored(first_right(256, 260, 252), method="blob")]
    row = verdict(ordering(lower, higher, margin=margin), runs)
    assert row["verdict"] == expected
    assert abs(row["estimate"]) == pytest.approx(0.04)
    assert row["upper"] - row["lower"] < 0.06


def test_seeds_that_methods_do_not_share_are_left_out(scored):
    runs = [scored(first_right(200, 220, 100)), scored(first_right(240, 240), method="blob")]
    row = verdict(ordering("mle", "blob"), runs)
    assert (row["seeds"], row["estimate"]) == (2, pytest.approx(-30 / 400))


def test_values_are_averaged_over_data_sets_with_equal_weight(scored):
    runs = [
        scored(first_right(300, 300)),
        scored(first_right(360, 360), method="blob"),
        scored(first_right(50, 50, questions=100), dataset="arc"),
        scored(first_right(45, 45, questions=100), method="blob", dataset="arc"),
    ]
    row = verdict({**ordering("mle", "blob"), "datasets": ["obqa", "arc"]}, runs)
    assert row["estimate"] == pytest.approx(((300 - 360) / 400 + (50 - 45) / 100) / 2)


def test_a_contender_of_another_data_set_is_compared_without_pairing_questions(scored):
    clean, leaked = first_right(200, 200), first_right(240, 240)
    runs = [scored(clean, dataset="logic"), scored(leaked, dataset="logic_leaked")]
    comparison = {**ordering("mle", {"method": "mle", "dataset": "logic_leaked"}), "datasets": ["logic"]}
    row = verdict(comparison, runs)
    assert (row["verdict"], row["estimate"]) == ("reproduced", pytest.approx(-0.1))
    # Variances of independent samples add: 0.5 * 0.5 / 400 and 0.6 * 0.4 / 400.
    assert (row["upper"] - row["lower"]) / 2 == pytest.approx(1.96 * math.sqrt((0.25 + 0.24) / 400), rel=0.05)


@pytest.mark.parametrize(
    ("second", "metrics", "tolerance", "expected"),
    [
        (first_right(300, 301, 299), ["accuracy", "ece"], 0.02, "reproduced"),
        (first_right(304, 305, 303), ["accuracy"], 0.01, "within interval"),
        (first_right(340, 341, 339), ["accuracy", "nll"], 0.02, "not reproduced"),
    ],
)
def test_equal_methods(scored, second, metrics, tolerance, expected):
    runs = [scored(first_right(300, 301, 299)), scored(second, method="map")]
    comparison = {"kind": "answer_equal", **CELL, "metrics": metrics, "methods": ["map", "mle"], "tolerance": tolerance}
    assert verdict(comparison, runs)["verdict"] == expected


def test_the_metric_that_differs_most_decides_about_equality(scored):
    # The same right answers with another confidence: equal accuracy, another likelihood.
    runs = [scored(first_right(300, 300)), scored(first_right(300, 300), method="map", confidence=0.99)]
    comparison = {"kind": "answer_equal", **CELL, "methods": ["map", "mle"], "tolerance": 0.05}
    assert verdict({**comparison, "metrics": ["accuracy"]}, runs)["verdict"] == "reproduced"
    row = verdict({**comparison, "metrics": ["accuracy", "nll"]}, runs)
    assert row["verdict"] == "not reproduced"
    assert row["finding"].startswith("largest difference, of nll, ")


def test_temperature_scales_logits_by_the_published_number(scored):
    run = scored(first_right(300, 300), confidence=0.9, metrics={"inverse_temperature": 0.5})
    plain = verdict(value("nll"), [run])
    scaled = verdict(value("nll", method={"method": "mle", "temperature": True}), [run])
    odds = math.sqrt(0.9 / 0.1)
    expected = -(0.75 * math.log(odds / (1 + odds)) + 0.25 * math.log(1 / (1 + odds)))
    assert scaled["estimate"] == pytest.approx(expected)
    assert plain["estimate"] > scaled["estimate"]


def test_without_a_published_temperature_a_claim_about_it_is_not_run(scored):
    row = verdict(value(method={"method": "mle", "temperature": True}), [scored(first_right(300, 300))])
    assert (row["verdict"], row["finding"]) == ("not run", "the runs published no temperature")


def test_the_posterior_mean_is_another_contender_than_its_draws(scored):
    runs = [
        scored(first_right(300, 300), method="blob"),
        scored(first_right(320, 320), method="blob", draws=0),
    ]
    assert verdict(ordering("blob", "blob_mean"), runs)["estimate"] == pytest.approx(-0.05)


def test_where_tells_runs_of_one_method_apart(scored):
    runs = [
        scored(first_right(300, 300), method="tfb", settings={"training.steps": 100}),
        scored(first_right(320, 320), method="tfb", settings={"training.steps": 200}),
    ]
    few, many = ({"method": "tfb", "where": {"training.steps": steps}} for steps in (100, 200))
    assert verdict(ordering(few, many), runs)["estimate"] == pytest.approx(-0.05)
    assert verdict(value(method="tfb"), runs, where={"training.steps": 200})["estimate"] == pytest.approx(0.8)
    with pytest.raises(ConfigurationError, match=r"different hyperparameters.*steps 100; steps 200"):
        verdict(value(method="tfb"), runs)


def test_another_evaluation_set_is_another_place(scored):
    runs = [scored(first_right(300, 300)), scored(first_right(200, 200), evaluation="mmlu")]
    assert verdict(value(), runs)["estimate"] == pytest.approx(0.75)
    assert verdict({**value(), "evaluation": "mmlu"}, runs)["estimate"] == pytest.approx(0.5)


def test_nothing_is_decided_before_every_run_of_every_contender_is_finished(scored):
    done = scored(first_right(300, 300))
    waiting = scored(first_right(300, 300), method="blob", state="running")
    row = verdict(ordering("mle", "blob"), [done, waiting])
    assert (row["verdict"], row["finding"]) == ("not run", "1 of 1 runs of blob on obqa with a_model: running")
    row = verdict(ordering("mle", "tfb"), [done])
    assert row["finding"] == "no such run of tfb on obqa with a_model in the experiment"
    row = verdict(value(), [done], experiment="elsewhere")
    assert row["finding"] == "no run of the experiment is planned"


def test_one_seed_decides_nothing(scored):
    row = verdict(value(), [scored(first_right(300))])
    assert row["verdict"] == "not run"
    assert "2 seeds" in row["finding"]


def test_a_metric_that_is_not_finite_decides_nothing(scored):
    # Without a wrong answer there is no curve of errors.
    row = verdict(value("error_auroc"), [scored(first_right(QUESTIONS, QUESTIONS))])
    assert (row["verdict"], row["finding"]) == ("not run", "the metric is not finite on these questions")


def test_methods_with_other_questions_of_one_data_set_are_a_state_error(scored):
    runs = [scored(first_right(300, 300)), scored(first_right(30, 30, questions=40), method="blob")]
    with pytest.raises(StateError, match="answered different questions"):
        verdict(ordering("mle", "blob"), runs)


def test_files_are_read_once_for_all_claims(scored):
    run = scored(first_right(300, 310))
    evidence = AnswerEvidence(replicates=100)
    first = evidence.metric([run], "obqa", "accuracy", temperature=False)
    (run.folder / "predictions.parquet").unlink()
    assert evidence.metric([run], "obqa", "accuracy", temperature=False) is first
    assert evidence.metric([run], "obqa", "nll", temperature=False).seeds == (0, 1)
    nothing = scores_difference(first, first)
    assert not nothing.resampled.observed.any()
    assert not nothing.resampled.replicates.any()


@pytest.fixture
def fits(tmp_path):
    """Writes a fit whose metrics hold the two widths, one per seed."""

    def write(widths, data_free):
        folder = tmp_path / "runs" / "bayesian_lora_fit" / "fit"
        folder.mkdir(parents=True)
        names = {"mean_deviation": widths, "data_free_deviation": data_free}
        rows = [
            {"seed": seed, "split": "train", "metric": name, "value": one}
            for name, values in names.items()
            for seed, one in enumerate(values)
        ]
        rows.append({"seed": 0, "split": "validation", "metric": "mean_deviation", "value": 99.0})
        pd.DataFrame(rows).to_parquet(folder / "metrics.parquet", index=False)
        spec = {"model": "a_model", "dataset": "obqa", "method": "scalabl", "seeds": list(range(len(widths)))}
        return RunRecord("fit", "bayesian_lora_fit", spec, folder, ("answers",))

    return write


WIDTH = {"kind": "data_free_width", "model": "a_model", "dataset": "obqa", "method": "scalabl", "tolerance": 0.05}


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ([1.06, 1.07, 1.065], "reproduced"),
        ([1.06, 1.20, 1.0], "within interval"),
        ([0.53, 0.52, 0.54], "not reproduced"),
    ],
)
def test_a_data_free_width(fits, widths, expected):
    row = verdict(WIDTH, [fits(widths, [1.064] * 3)], study="bayesian_lora_fit")
    assert row["verdict"] == expected
    assert row["estimate"] == pytest.approx(np.mean(widths) / 1.064)


def test_a_fit_without_a_data_free_path_decides_nothing(fits):
    row = verdict(WIDTH, [fits([1.0, 1.1], [])], study="bayesian_lora_fit")
    assert (row["verdict"], row["finding"]) == ("not run", "the fits do not record data_free_deviation")


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (value("acuracy"), "did you mean 'accuracy'"),
        (value(tolerance=0.0), "greater than 0"),
        ({**value(), "datasets": []}, "at least 1"),
        ({"kind": "answer_range", **CELL, "metric": "nll", "method": "mle"}, "a range needs a bound"),
        ({"kind": "answer_range", **CELL, "metric": "nll", "method": "mle", "lowest": 1.0, "highest": 0.5}, "below"),
        (ordering("mle", "mle"), "compared with itself"),
        (ordering("mle", {"method": "mle", "data": "arc"}), "data"),
        ({**ordering("mle", {"method": "map", "dataset": "a"}), "datasets": ["b", "c"]}, "averaged over several"),
    ],
)
def test_malformed_comparisons_are_configuration_errors(comparison, message):
    with pytest.raises(ConfigurationError, match=message):
        verdict(comparison, [])


def test_the_ledger_loads_without_torch():
    code = (
        "import sys; from pathlib import Path; from bayesgrid.reporting.claims import evaluate_claims, load_claims; "
        "assert set(evaluate_claims(load_claims(Path('config/claims.yaml')), [])['verdict']) == {'not run'}; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
