from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.metrics.bootstrap import paired_interval
from bayesgrid.metrics.crossed_bootstrap import Resampled
from bayesgrid.metrics.multiple_comparisons import holm_adjusted
from bayesgrid.metrics.selective_prediction import risk_coverage_curve
from bayesgrid.metrics.win_probability import wilson_interval
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.answer_draws_tables import windows_of_draws
from bayesgrid.reporting.answer_estimates import cell_estimates
from bayesgrid.reporting.answer_predictions import read_answer_predictions
from bayesgrid.reporting.answer_runs import answer_cells
from bayesgrid.reporting.table_files import latex, markdown
from bayesgrid.reporting.tables import build_table, render_partial, table_kinds
from bayesgrid.studies.bayesian_lora.answer_metrics import TEMPERED_METRICS

KINDS = [kind for kind in table_kinds() if kind.startswith("answer_")]
FAST = {"replicates": 200}


def published(run, metric):
    """Return the metric of every seed as the run published it."""
    frame = pd.read_parquet(run.folder / "metrics.parquet")
    return frame[frame["metric"] == metric].set_index("seed")["value"].sort_index().to_numpy()


def of_questions(run, name):
    """Return a score of every seed on every question, ``[S, N]``."""
    predictions = read_answer_predictions([run])
    return np.stack([getattr(predictions.scores(seed), name) for seed in predictions.seeds])


def certain(answers, root, probability, seeds=None, **more):
    """Return a run on 4 questions of 2 options, answered 0 with the given probabilities of 0, one row a seed."""
    frames = []
    seeds = range(len(probability)) if seeds is None else seeds
    for seed, own in zip(seeds, probability, strict=True):
        own = np.asarray(own, dtype=float)
        logits = np.log(np.stack([own, 1 - own], axis=1))[None]
        frames.append(answers.frame_of(seed, logits, np.zeros(4, dtype=int), np.full(4, 2)))
    return answers.make_answers(root, predictions=pd.concat(frames), seeds=seeds, **more)


@pytest.fixture(scope="module")
def three(answers, tmp_path_factory):
    root = tmp_path_factory.mktemp("three")
    return [answers.make_answers(root, method=method) for method in ("mle", "blob", "laplace")]


def test_means_over_seeds_of_every_metric_are_those_that_the_runs_published(answers, three):
    metrics = ["accuracy", "nll", "brier", "ece", "ece_debiased", "ece_adaptive", "aurc", "error_auroc"]
    metrics += ["entropy", "mutual_information", "aleatoric", "confidence", "coverage_90", "trained_parameters"]
    table = build_table("answer_metrics", three, {"metrics": metrics, **FAST})
    for run in three:
        for metric in metrics:
            row = answers.entry(table, method=run.spec["method"], metric=metric, temperature=False)
            assert row["estimate"] == pytest.approx(published(run, metric).mean()), metric
            assert (row["seeds"], row["examples"], row["state"]) == (4, 60, "done")
        for metric in TEMPERED_METRICS:
            row = answers.entry(table, method=run.spec["method"], metric=metric, temperature=True)
            assert row["estimate"] == pytest.approx(published(run, f"tempered_{metric}").mean()), metric


def test_metrics_of_four_questions_are_those_computed_by_hand(answers, tmp_path):
    runs = [
        certain(answers, tmp_path, [[0.9, 0.9, 0.4, 0.8]] * 2, metrics={"inverse_temperature": 2.0}),
        certain(answers, tmp_path, [[0.6, 0.6, 0.6, 0.6], [0.6, 0.6, 0.4, 0.6]], method="blob", draws=1),
    ]
    table = build_table("answer_metrics", runs, FAST)
    nll = answers.entry(table, method="mle", metric="nll", temperature=False)
    assert nll["estimate"] == pytest.approx(-np.log([0.9, 0.9, 0.4, 0.8]).mean())
    scaled = answers.entry(table, method="mle", metric="brier", temperature=True)
    right = np.array([0.81 / 0.82, 0.81 / 0.82, 0.16 / 0.52, 0.64 / 0.68])
    assert scaled["estimate"] == pytest.approx(2 * ((1 - right) ** 2).mean())
    assert answers.entry(table, method="blob", metric="accuracy")["estimate"] == pytest.approx((1 + 0.75) / 2)
    (section,) = table.sections
    assert [row[0].text for row in section.rows] == ["MLE", "MLE + temperature", "BLoB"]
    assert section.heading == "qwen3-0.6b · obqa · 4 questions · 2 seeds"


def test_bold_is_the_set_of_the_best_by_paired_tests_and_not_the_best_mean_alone(answers, tmp_path):
    generator = np.random.default_rng(0)
    right = generator.uniform(0.3, 0.9, size=4)
    runs = [
        certain(answers, tmp_path, [right] * 3, method="mle"),
        certain(answers, tmp_path, [right - 1e-3 * sign for sign in (1, -2, 1)], method="map"),
        certain(answers, tmp_path, [right - 0.2] * 3, method="blob", draws=1),
    ]
    table = build_table("answer_metrics", runs, {"metrics": ["nll"]})
    bold = {row[0].text: row[1].best for row in table.sections[0].rows}
    assert bold == {"MLE": True, "MAP": True, "BLoB": False}
    assert table.data.set_index("method")["best"].to_dict() == {"mle": True, "map": True, "blob": False}


def test_a_method_that_cannot_be_compared_is_not_known_to_be_worse(answers, tmp_path):
    runs = [
        certain(answers, tmp_path, [[0.9, 0.8, 0.7, 0.6]], method="mle"),
        certain(answers, tmp_path, [[0.45, 0.39, 0.36, 0.3]], method="blob", draws=1),
        certain(answers, tmp_path, [[0.8, 0.8, 0.6, 0.6]], method="map", seeds=[7]),
    ]
    table = build_table("answer_metrics", runs, {"metrics": ["nll"]})
    assert table.data.set_index("method")["best"].to_dict() == {"mle": True, "map": True, "blob": False}


def test_a_difference_without_a_p_value_leaves_a_method_bold(answers, three):
    estimates = cell_estimates(answer_cells(three)[0], ["nll"], replicates=200)
    first, *others = sorted(estimates.entries, key=lambda one: estimates.estimate(one, "nll").estimate)
    unknown = {
        key: replace(own, replicates=np.full_like(own.replicates, np.nan)) if key[0] != first else own
        for key, own in estimates.resampled.items()
    }
    assert {first} <= estimates.best("nll") < {first, *others}
    assert replace(estimates, resampled=unknown).best("nll") == {first, *others}


def test_plain_calibration_errors_are_never_bold_and_a_negative_debiased_one_is_as_good_as_none(answers, three):
    metrics = ["ece", "ece_adaptive", "ece_debiased"]
    table = build_table("answer_metrics", three, {"metrics": metrics, **FAST})
    best = table.data.groupby("metric")["best"].any()
    assert best.to_dict() == {"ece": False, "ece_adaptive": False, "ece_debiased": True}
    assert any("biased upwards" in note for note in table.notes)
    assert not any("biased upwards" in n for n in build_table("answer_metrics", three, {"metrics": ["nll"]}).notes)

    # Three methods at 0, -0.1 and 0.3, all exactly known: none is better calibrated than a calibrated one can be.
    estimates = cell_estimates(answer_cells(three)[0], ["ece_debiased"], replicates=200)
    values = dict(zip(estimates.entries, (0.0, -0.1, 0.3), strict=True))
    known = {
        (entry, "ece_debiased"): Resampled(np.full(4, value), np.full((4, 200), value), 60)
        for entry, value in values.items()
    }
    zero, negative, positive = estimates.entries
    found = replace(estimates, resampled=known)
    assert found.best("ece_debiased") == {zero, negative}
    assert found.estimate(negative, "ece_debiased").estimate < 0 < found.estimate(positive, "ece_debiased").estimate


def test_questions_of_one_group_are_resampled_together(answers, tmp_path):
    generator = np.random.default_rng(3)
    # Twenty pictures with four questions each, which are all answered alike.
    probability = np.repeat(generator.uniform(0.2, 0.9, size=20), 4)
    logits = np.log(np.stack([probability, 1 - probability], axis=1))[None]
    widths, shared = {}, None
    for name, groups in {
        "alone": None,
        "empty": [""] * 80,
        "grouped": [f"picture-{place // 4}" for place in range(80)],
    }.items():
        frame = answers.frame_of(0, logits, np.zeros(80, dtype=int), np.full(80, 2))
        if groups is not None:
            frame["group"] = groups
        run = answers.make_answers(tmp_path / name, predictions=frame, seeds=range(1))
        data = build_table("answer_metrics", [run], {"metrics": ["nll"]}).data
        row = answers.entry(build_table("answer_metrics", [run], {"metrics": ["nll"]}), metric="nll")
        shared = data if shared is None else shared
        if name == "empty":
            pd.testing.assert_frame_equal(data, shared)
        widths[name] = row["upper"] - row["lower"]
    means = -np.log(probability.reshape(20, 4)).mean(axis=1)
    bounds = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert widths["grouped"] == pytest.approx(bounds.high - bounds.low, rel=0.05)
    assert widths["alone"] < 0.6 * widths["grouped"]


def test_groups_that_one_method_knows_hold_for_the_others(answers, tmp_path):
    frames = {}
    for method in ("mle", "blob"):
        probability = np.repeat(np.random.default_rng(len(method)).uniform(0.2, 0.9, size=10), 4)
        logits = np.log(np.stack([probability, 1 - probability], axis=1))[None]
        frames[method] = answers.frame_of(0, logits, np.zeros(40, dtype=int), np.full(40, 2))
    found = []
    for known in (("mle",), ("mle", "blob")):
        runs = []
        for method, frame in frames.items():
            own = frame.assign(group=[f"g{place // 4}" for place in range(40)]) if method in known else frame
            runs.append(
                answers.make_answers(
                    tmp_path / str(len(known)), method=method, draws=1, predictions=own, seeds=range(1)
                )
            )
        found.append(build_table("answer_metrics", runs, {"metrics": ["nll"], **FAST}).data)
    pd.testing.assert_frame_equal(*found)


def test_accuracy_in_a_bin_has_the_interval_of_as_many_groups_as_there_are(answers, tmp_path):
    run = certain(answers, tmp_path, [[0.9, 0.9, 0.9, 0.1]] * 2)
    path = run.folder / "predictions.parquet"
    pd.read_parquet(path).assign(group=["a", "a", "", "b"] * 2).to_parquet(path)
    row = answers.entry(build_table("answer_reliability", [run], {"temperature": False}))
    expected = wilson_interval(0.75 * 3, 3, level=0.95)
    assert (row["lower"], row["upper"]) == pytest.approx((expected.lower, expected.upper))


@pytest.mark.parametrize("kind", ["answer_risk_coverage", "answer_out_of_distribution"])
def test_curves_of_grouped_questions_are_less_certain(answers, tmp_path, kind):
    widths = []
    for grouped in (False, True):
        runs = []
        for evaluation in ("", "arc"):
            generator = np.random.default_rng(5)
            probability = np.repeat(generator.uniform(0.2, 0.95, size=15) ** (1 + bool(evaluation)), 4)
            logits = np.log(np.stack([probability, 1 - probability], axis=1))[None]
            frame = answers.frame_of(0, logits, np.zeros(60, dtype=int), np.full(60, 2))
            frame = frame.assign(group=[f"g{place // 4}" if grouped else "" for place in range(60)])
            root = tmp_path / str(grouped)
            runs.append(answers.make_answers(root, evaluation=evaluation, predictions=frame, seeds=range(1)))
        data = build_table(kind, runs, FAST).data
        rows = data[data["metric"] == ("aurc" if kind == "answer_risk_coverage" else "ood_auroc_entropy")]
        widths.append((rows["upper"] - rows["lower"]).iloc[0])
    assert widths[1] > 1.4 * widths[0]


def test_differences_are_paired_on_seeds_and_questions_and_holm_adjusted(answers, three):
    table = build_table("answer_differences", three, {"metrics": ["nll"]})
    rows = table.data[(table.data["quantity"] == "difference") & (table.data["reference"] == "MLE")]
    assert len(rows) == 5, "BLoB and Laplace, and all three after scaling"
    for run in three[1:]:
        row = answers.entry(table, method=run.spec["method"], temperature=False, reference="MLE")
        interval = paired_interval(
            of_questions(run, "nll"),
            of_questions(three[0], "nll"),
            generator=random_stream(0, "other"),
            replicates=9000,
        )
        assert row["estimate"] == pytest.approx(interval.estimate)
        assert (row["lower"], row["upper"]) == pytest.approx((interval.lower, interval.upper), abs=0.01)
    assert rows["p_holm"].to_numpy() == pytest.approx(holm_adjusted(rows["p_value"]))
    scaled = table.data[table.data["reference"] == "MLE + temperature"]
    gap = answers.entry(table, method="blob", temperature=False, reference="MLE + temperature")
    expected = published(three[1], "nll").mean() - published(three[0], "tempered_nll").mean()
    assert (len(scaled), gap["estimate"]) == (5, pytest.approx(expected))


def test_a_method_with_other_seeds_is_compared_on_those_it_shares(answers, tmp_path):
    runs = [
        certain(answers, tmp_path, [[0.9, 0.8, 0.7, 0.6], [0.5, 0.5, 0.5, 0.4]]),
        certain(answers, tmp_path, [[0.8, 0.8, 0.7, 0.6]], method="zeroshot"),
    ]
    table = build_table("answer_differences", runs, {"metrics": ["nll"], **FAST})
    row = answers.entry(table, method="zeroshot", reference="MLE")
    assert row["estimate"] == pytest.approx(np.log(0.9 / 0.8) / 4)


def test_without_the_reference_method_the_table_says_so(answers, three):
    table = build_table("answer_differences", three[1:], {"metrics": ["nll"], **FAST})
    assert any("No run of MLE" in note for note in table.notes)


def test_bins_of_confidence_have_wilsons_interval_for_the_questions_of_one_seed(answers, tmp_path):
    run = certain(answers, tmp_path, [[0.9, 0.92, 0.05, 0.65], [0.9, 0.92, 0.95, 0.65]])
    table = build_table("answer_reliability", [run], {"bins": 5})
    high = answers.entry(table, bin=4)
    interval = wilson_interval(3 * 5 / 6, 3)
    assert (high["predictions"], high["confidence"]) == (6, pytest.approx((2 * 0.9 + 2 * 0.92 + 2 * 0.95) / 6))
    assert (high["estimate"], high["lower"]) == (pytest.approx(5 / 6), pytest.approx(interval.lower))
    assert sorted(table.data["bin"]) == [3, 4]


def test_risks_are_those_of_the_curve_of_every_seed(answers, three):
    table = build_table("answer_risk_coverage", three, FAST)
    confidence, wrong = of_questions(three[1], "confidence"), 1 - of_questions(three[1], "correct")
    curves = [risk_coverage_curve(*pair).risk for pair in zip(confidence, wrong, strict=True)]
    half = answers.entry(table, method="blob", coverage=0.5)
    assert half["estimate"] == pytest.approx(np.mean([curve[29] for curve in curves]))
    area = answers.entry(table, method="blob", metric="aurc")
    assert area["estimate"] == pytest.approx(published(three[1], "aurc").mean())
    assert answers.entry(table, method="blob", coverage=1.0)["estimate"] == pytest.approx(wrong.mean())


def test_one_draw_is_the_mean_over_draws_and_all_draws_the_published_metric(answers, three):
    table = build_table("answer_draws", three[:2], {"metrics": ["nll"]})
    one, all_of_them = (answers.entry(table, method="blob", draws=float(draws)) for draws in (1, 10))
    assert all_of_them["estimate"] == pytest.approx(published(three[1], "nll").mean())
    bounds = stats.ttest_1samp(published(three[1], "nll"), 0).confidence_interval(0.95)
    assert (all_of_them["lower"], all_of_them["upper"]) == pytest.approx((bounds.low, bounds.high))
    predictions = read_answer_predictions([three[1]])
    alone = [predictions.scores(seed, draws=[k]).nll.mean() for seed in predictions.seeds for k in range(10)]
    assert one["estimate"] == pytest.approx(np.mean(alone))
    assert table.data.loc[table.data["method"] == "mle", "draws"].tolist() == [1.0]


def test_windows_use_every_draw_alike():
    assert windows_of_draws(3, 2) == [[0, 1], [1, 2], [2, 0]]
    assert windows_of_draws(4, 4) == [[0, 1, 2, 3]]
    assert len(windows_of_draws(100, 10)) == 16


def test_a_method_is_efficient_unless_another_is_as_good_and_as_cheap(answers, tmp_path):
    runs = [
        certain(answers, tmp_path, [[level] * 4] * 2, method=method, draws=1, metrics={"seconds_per_example": seconds})
        for method, level, seconds in (("mle", 0.6, 0.1), ("map", 0.6, 0.2), ("blob", 0.8, 0.3), ("tfb", 0.7, 0.4))
    ]
    table = build_table("answer_cost", runs, FAST)
    flags = table.data.drop_duplicates("method").set_index("method")["pareto"].to_dict()
    assert flags == {"mle": True, "map": False, "blob": True, "tfb": False}
    assert answers.entry(table, method="blob", metric="seconds_per_example")["estimate"] == pytest.approx(0.3)


def test_costs_that_an_earlier_evaluation_did_not_measure_are_left_open(answers, tmp_path):
    measured = {"seconds_per_example": 0.1, "seconds_per_example_p95": 0.25, "prediction_memory_mb": 120.0}
    runs = [
        certain(answers, tmp_path, [[0.6] * 4] * 2, method=method, draws=1, metrics=metrics)
        for method, metrics in (("mle", {"seconds_per_example": 0.1}), ("map", measured))
    ]
    table = build_table("answer_cost", runs, FAST)
    shown = {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.sections[0].rows}
    assert shown["MLE"]["Memory of answering (MB)"].text == "—"
    assert shown["MAP"]["Memory of answering (MB)"].text == "120"
    assert answers.entry(table, method="map", metric="seconds_per_example_p95")["estimate"] == pytest.approx(0.25)
    assert any("high-water mark of the whole process" in note for note in table.notes)


def test_settings_are_named_by_what_differs_from_the_correct_ones_and_compared_with_them(answers, tmp_path):
    levels = [
        (0.8, {}, "correct"),
        (0.7, {"variational.kl_direction": "reverse"}, "correct"),
        (0.6, {"variational.flipout": "token"}, "correct"),
        (0.5, {"variational.flipout": "token", "variational.kl_direction": "reverse"}, "faithful"),
    ]
    runs = [
        certain(answers, tmp_path, [[level] * 3 + [0.4]] * 2, method="blob", draws=1, settings=settings, mode=mode)
        for level, settings, mode in (levels[1], *levels[:1], *levels[2:])
    ]
    table = build_table("answer_ablation", runs, {"metrics": ["nll"], **FAST})
    names = [row[0].text for row in table.sections[0].rows]
    assert names == ["correct", "KL direction reverse", "flipout token", "reference recipe"]
    for name, (level, _, _) in zip(names[1:], levels[1:], strict=True):
        row = answers.entry(table, setting=name, quantity="difference")
        assert row["estimate"] == pytest.approx(0.75 * np.log(0.8 / level))
    assert len(table.data[table.data["quantity"] == "difference"]) == 3


def test_detection_sets_the_questions_of_another_set_against_the_own_test_split_of_the_same_fit(answers, tmp_path):
    own, other = (
        answers.make_answers(tmp_path, method="blob", evaluation=evaluation, signal=signal, questions=40)
        for evaluation, signal in (("", 2.0), ("mmlu_law", 0.5))
    )
    table = build_table("answer_out_of_distribution", [own, other], FAST)
    inside, outside = of_questions(own, "entropy"), of_questions(other, "entropy")
    kinds = np.repeat([0, 1], 40)
    scores = np.concatenate([inside, outside], axis=1)
    row = answers.entry(table, evaluation="mmlu_law", metric="ood_auroc_entropy")
    assert row["estimate"] == pytest.approx(np.mean([roc_auc_score(kinds, one) for one in scores]))
    assert row["lower"] < row["estimate"] < row["upper"]
    precision = answers.entry(table, metric="ood_aupr_entropy")["estimate"]
    assert precision == pytest.approx(np.mean([average_precision_score(kinds, one) for one in scores]))
    nll = answers.entry(table, evaluation="mmlu_law", metric="nll")
    assert nll["estimate"] == pytest.approx(published(other, "nll").mean())


def test_a_fit_of_other_settings_is_not_the_own_test_split(answers, tmp_path):
    runs = [
        answers.make_answers(tmp_path, method="blob", settings={"training.steps": 7}),
        answers.make_answers(tmp_path, method="blob", evaluation="mmlu_law"),
    ]
    table = build_table("answer_out_of_distribution", runs, FAST)
    assert not (table.data["quantity"] == "detection").any()


def test_training_sizes_of_one_task_are_places_on_one_axis(answers, tmp_path):
    runs = [
        answers.make_answers(tmp_path, dataset=f"winogrande_{size}", labels=labels)
        for size, labels in (("s", 640), ("xs", 160))
    ]
    table = build_table("answer_by_training_size", runs, {"metrics": ["nll"], **FAST})
    assert table.columns == ("Metric", "Method", "160 labels", "640 labels")
    for run, labels in zip(runs, (640.0, 160.0), strict=True):
        assert answers.entry(table, labels=labels)["estimate"] == pytest.approx(published(run, "nll").mean())


def test_noise_is_read_from_the_name_of_the_evaluation_set_and_the_set_itself_has_none(answers, tmp_path):
    runs = [
        answers.make_answers(tmp_path, dataset="slake", evaluation=evaluation)
        for evaluation in ("noisy_slake_128", "", "noisy_slake_8", "mmlu_law")
    ]
    table = build_table("answer_noise", runs, {"metrics": ["accuracy"], **FAST})
    assert table.data["noise_level"].tolist() == [0, 8, 128]
    assert table.data["estimate"].tolist() == pytest.approx(
        [published(runs[place], "accuracy").mean() for place in (1, 2, 0)]
    )
    with pytest.raises(ConfigurationError, match="noisy_slake_8"):
        build_table("answer_noise", runs[1:2], FAST)


def test_learning_curves_have_the_mean_at_every_number_of_labels_and_the_area_under_it(answers, tmp_path):
    runs = [answers.make_rounds(tmp_path, acquisition=name, rounds=3) for name in ("random", "bald")]
    table = build_table("answer_learning_curves", runs, {"metrics": ["accuracy"]})
    rounds = pd.read_parquet(runs[1].folder / "rounds.parquet")
    wide = rounds.pivot_table(index="seed", columns="labelled", values="accuracy").to_numpy()
    area = answers.entry(table, variant="acquisition bald", quantity="area")
    assert area["estimate"] == pytest.approx(((wide[:, 1:] + wide[:, :-1]) / 2).mean())
    value = answers.entry(table, variant="acquisition bald", labelled=20.0)
    assert value["estimate"] == pytest.approx(wide[:, 1].mean())


def test_rows_are_named_by_method_mode_and_what_tells_runs_apart(answers, tmp_path):
    runs = [
        answers.make_answers(tmp_path, method="blob"),
        answers.make_answers(tmp_path, method="blob", draws=0),
        answers.make_answers(tmp_path, method="blob", settings={"training.steps": 900}),
        answers.make_answers(tmp_path, method="blob", mode="faithful", settings={"training.steps": 5}),
        answers.make_answers(tmp_path, method="mcdropout"),
        answers.make_answers(tmp_path, method="my_method", state="pending"),
    ]
    table = render_partial("answer_metrics", runs, {"temperature": False, "reference": "blob", **FAST})
    names = [row[0].text for row in table.sections[0].rows]
    assert names == [
        "BLoB, steps 100",
        "BLoB, steps 900",
        "BLoB, reference recipe",
        "BLoB (mean)",
        "MC dropout",
        "my method (pending)",
    ]


def test_one_departure_at_a_time_is_named_alone_and_most_runs_values_go_without_saying(answers, tmp_path):
    departures = [
        None,
        {"variational.kl_direction": "reverse"},
        {"variational.flipout": "token"},
        {"training.steps": 5},
    ]
    runs = [answers.make_answers(tmp_path, method="scalabl", settings=own) for own in departures]
    table = build_table("answer_metrics", runs, {"metrics": ["nll"], "temperature": False, **FAST})
    names = [row[0].text for row in table.sections[0].rows]
    assert names == ["ScalaBL", "ScalaBL, KL direction reverse", "ScalaBL, flipout token", "ScalaBL, steps 5"]


def test_one_defect_corrected_is_named_beside_the_reference_recipe_that_has_them_all(answers, tmp_path):
    both = {"variational.flipout": "token", "variational.kl_direction": "reverse"}
    runs = [
        answers.make_answers(tmp_path, method="scalabl", settings=own, mode=mode)
        for own, mode in (
            (None, "correct"),
            (both | {"variational.flipout": "example"}, "faithful"),
            (both, "faithful"),
            (both | {"variational.kl_direction": "forward"}, "faithful"),
        )
    ]
    table = build_table("answer_ablation", runs, FAST)
    names = [row[0].text for row in table.sections[0].rows]
    recipe = "reference recipe"
    assert names == ["correct", f"{recipe}, but flipout example", recipe, f"{recipe}, but KL direction forward"]


def test_trials_of_a_seed_are_averaged_and_are_no_further_seeds(answers, tmp_path):
    levels = {0: (0.9, 0.8), 1: (0.5, 0.4)}
    runs = [
        certain(
            answers,
            tmp_path,
            [[one] * 4 for one in level],
            method="blob",
            draws=1,
            settings={"evaluation.trial": trial},
            metrics={"seconds_per_example": 1.0 + trial},
        )
        for trial, level in levels.items()
    ]
    table = build_table("answer_metrics", runs, {"metrics": ["nll", "seconds_per_example"], **FAST})
    row = answers.entry(table, metric="nll")
    assert (row["seeds"], row["variant"]) == (2, "")
    assert row["estimate"] == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.4]).mean())
    by_seed = -np.log([[0.9, 0.5], [0.8, 0.4]]).mean(axis=1)
    bounds = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert row["upper"] == pytest.approx(bounds.high, rel=0.15), "of two seeds, not of four"
    assert answers.entry(table, metric="seconds_per_example")["estimate"] == pytest.approx(1.5)


def test_labels_that_only_the_validation_slice_has_are_no_classes_of_the_test_split(answers, tmp_path):
    run = answers.make_answers(tmp_path, questions=30)
    before = build_table("answer_metrics", [run], FAST).data
    path = run.folder / "predictions.parquet"
    held_out = answers.frame_of(0, np.zeros((1, 5, 6)), np.zeros(5, dtype=int), np.full(5, 6), split="validation")
    pd.concat([held_out, pd.read_parquet(path)], ignore_index=True).to_parquet(path)
    pd.testing.assert_frame_equal(before, build_table("answer_metrics", [run], FAST).data)


def test_seed_blocks_of_one_method_are_one_row_and_a_seed_twice_is_an_error(answers, tmp_path):
    blocks = [answers.make_answers(tmp_path, seeds=range(start, start + 2)) for start in (2, 0)]
    table = build_table("answer_metrics", blocks, {"metrics": ["nll"], **FAST})
    row = answers.entry(table, temperature=False)
    both = np.concatenate([published(block, "nll") for block in blocks])
    assert (row["seeds"], row["estimate"]) == (4, pytest.approx(both.mean()))
    with pytest.raises(ConfigurationError, match="twice"):
        build_table("answer_metrics", [*blocks, blocks[0]], FAST)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "answer_learning_curves"])
def test_a_partial_table_has_holes_that_say_why_and_the_same_numbers_elsewhere(answers, tmp_path, kind):
    evaluation = "noisy_obqa_8" if kind == "answer_noise" else ""
    done = answers.make_answers(tmp_path, evaluation=evaluation)
    waiting = answers.make_answers(tmp_path, method="blob", evaluation=evaluation, state="failed:out_of_memory")
    options = FAST if kind not in {"answer_reliability", "answer_draws"} else {}
    table = render_partial(kind, [done, waiting], options)
    text = markdown(table)
    assert "out of memory" in text or "out_of_memory" in text
    assert "Partial: 1 of 2 runs are not finished." in text
    assert table.data["estimate"].notna().any() or kind == "answer_differences"
    assert "tabular" in latex(table, label="t")
    assert "pending" in markdown(
        render_partial(kind, [answers.make_answers(tmp_path, evaluation=evaluation, state="pending")])
    )


def test_the_same_runs_give_the_same_numbers(three):
    tables = [build_table("answer_metrics", three, FAST).data for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("answer_metrics", {"metric": ["nll"]}, "did you mean 'metrics'"),
        ("answer_metrics", {"metrics": ["nl"]}, "no such metric"),
        ("answer_metrics", {"metrics": "nll"}, "list of names"),
        ("answer_metrics", {"replicates": 5}, "too few resamples"),
        ("answer_cost", {"cost": "euros"}, "no such metric"),
        ("answer_cost", {"cost": "tokens_per_second"}, "no such metric"),
        ("answer_draws", {"replicates": 500}, "unknown option"),
    ],
)
def test_unknown_options_are_configuration_errors(three, kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        build_table(kind, three, options)


def test_runs_without_a_method_are_refused(demo_runs):
    with pytest.raises(ConfigurationError, match="needs runs with model, method"):
        build_table("answer_metrics", demo_runs)


def test_methods_that_answered_different_questions_are_not_compared(answers, tmp_path):
    runs = [
        answers.make_answers(tmp_path, method=method, questions=count) for method, count in (("mle", 20), ("map", 30))
    ]
    with pytest.raises(StateError, match="20 questions; MAP: 30, 20 shared"):
        build_table("answer_metrics", runs, FAST)


def test_predictions_with_a_row_missing_or_without_a_test_split_are_errors(answers, tmp_path):
    run = answers.make_answers(tmp_path, method="blob")
    path = run.folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.drop(index=3).to_parquet(path)
    with pytest.raises(StateError, match="other questions"):
        build_table("answer_metrics", [run], FAST)
    frame.assign(split="validation").to_parquet(path)
    with pytest.raises(StateError, match="rows of the test split"):
        build_table("answer_metrics", [run], FAST)
    frame.drop(columns="options").to_parquet(path)
    with pytest.raises(StateError, match="lacks options"):
        build_table("answer_metrics", [run], FAST)
    path.write_bytes(b"PAR1")
    with pytest.raises(StateError, match="damaged"):
        build_table("answer_metrics", [run], FAST)


def test_rows_in_another_order_give_the_same_predictions(answers, tmp_path):
    run = answers.make_answers(tmp_path, method="blob", seeds=range(2), questions=5)
    before = read_answer_predictions([run])
    path = run.folder / "predictions.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path)
    after = read_answer_predictions([run])
    assert before.examples == after.examples
    for seed in (0, 1):
        np.testing.assert_array_equal(before.logits[seed], after.logits[seed])
