import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from bayesgrid.errors import DataError
from bayesgrid.metrics.answer_scores import SMALLEST_PROBABILITY
from bayesgrid.metrics.calibration_error import adaptive_calibration_error, calibration_test
from bayesgrid.metrics.selective_prediction import area_under_risk_coverage
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.answer_metrics import TEMPERED_METRICS, DrawnAnswers, answer_metrics

CLASSES = 5


def drawn(seed, *, draws=4, questions=300, sharpness=2.0, classes=CLASSES):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(questions, classes))
    options = np.where(generator.random(questions) < 0.3, classes - 1, classes)
    shown = np.where(np.arange(classes) < options[:, None], logits, -np.inf)
    answers = (shown + generator.gumbel(size=logits.shape)).argmax(axis=1)
    noise = generator.normal(scale=0.4, size=(draws, *logits.shape)) if draws > 1 else 0.0
    return DrawnAnswers(np.asarray(sharpness * (logits + noise)).reshape(draws, *logits.shape), answers, options)


def probabilities(answers, inverse=1.0):
    masked = np.where(np.arange(answers.logits.shape[2]) < answers.options[:, None], inverse * answers.logits, -np.inf)
    return special.softmax(masked, axis=2).mean(axis=0)


@pytest.fixture(scope="module")
def test_slice():
    return drawn(1)


@pytest.fixture(scope="module")
def validation_slice():
    return drawn(2, questions=120)


@pytest.fixture(scope="module")
def metrics(test_slice, validation_slice):
    return answer_metrics(test_slice, validation_slice)


@pytest.mark.parametrize("prefix", ["", "tempered_"])
def test_accuracy_likelihood_brier_and_calibration_equal_torchmetrics(test_slice, metrics, prefix):
    inverse = metrics["inverse_temperature"] if prefix else 1.0
    table = torch.tensor(probabilities(test_slice, inverse))
    answers = torch.tensor(test_slice.answers)
    accuracy = reference.multiclass_accuracy(table, answers, CLASSES, average="micro")
    error = reference.multiclass_calibration_error(table, answers, CLASSES, n_bins=15, norm="l1")
    nll = torch.nn.functional.nll_loss(table.log(), answers)
    brier = ((table - torch.nn.functional.one_hot(answers, CLASSES)) ** 2).sum(dim=1).mean()
    found = [metrics[prefix + name] for name in ("accuracy", "ece", "nll", "brier")]
    assert found == pytest.approx([float(accuracy), float(error), float(nll), float(brier)], abs=1e-6)


@pytest.mark.parametrize("prefix", ["", "tempered_"])
def test_other_scores_of_confidence_equal_their_own_modules_and_scikit_learn(test_slice, metrics, prefix):
    table = probabilities(test_slice, metrics["inverse_temperature"] if prefix else 1.0)
    confidence, wrong = table.max(axis=1), table.argmax(axis=1) != test_slice.answers
    assert metrics[prefix + "aurc"] == pytest.approx(area_under_risk_coverage(confidence, wrong))
    assert metrics[prefix + "error_auroc"] == pytest.approx(roc_auc_score(wrong, -confidence))
    assert metrics[prefix + "ece_adaptive"] == pytest.approx(adaptive_calibration_error(confidence, ~wrong))
    null = calibration_test(confidence, ~wrong, generator=random_stream(0, "null"), replicates=2000)
    assert metrics[prefix + "ece_debiased"] == pytest.approx(null.excess, abs=4 * null.null.std() / np.sqrt(2000))


def test_uncertainty_is_entropy_in_nats_and_its_two_parts(test_slice, metrics):
    table = probabilities(test_slice)
    masked = np.where(np.arange(CLASSES) < test_slice.options[:, None], test_slice.logits, -np.inf)
    each = special.softmax(masked, axis=2)
    assert metrics["confidence"] == pytest.approx(table.max(axis=1).mean())
    assert metrics["entropy"] == pytest.approx(stats.entropy(table, axis=1).mean())
    assert metrics["aleatoric"] == pytest.approx(stats.entropy(each, axis=2).mean())
    assert metrics["mutual_information"] == pytest.approx(metrics["entropy"] - metrics["aleatoric"])


def test_temperature_makes_held_out_predictions_likelier_and_keeps_the_order_of_one_draws_classes():
    single, held_out = drawn(1, draws=1), drawn(2, draws=1)
    metrics = answer_metrics(single, held_out)
    assert metrics["inverse_temperature"] == pytest.approx(0.5, abs=0.1), "logits are twice as sharp as calibrated"
    assert metrics["tempered_nll"] < metrics["nll"]
    assert metrics["tempered_accuracy"] == metrics["accuracy"]


def test_conformal_sets_cover_and_hold_no_absent_option(test_slice, validation_slice, metrics):
    # The threshold and the sets by hand.
    held_out = probabilities(validation_slice)
    own = np.sort(1 - held_out[np.arange(120), validation_slice.answers])
    threshold = own[int(np.ceil(121 * 0.9)) - 1]
    table = probabilities(test_slice)
    sets = (1 - table <= threshold) & (np.arange(CLASSES) < test_slice.options[:, None])
    assert metrics["set_size_90"] == pytest.approx(sets.sum(axis=1).mean())
    assert metrics["coverage_90"] == pytest.approx(sets[np.arange(300), test_slice.answers].mean())
    # Beta(109, 12) over calibration sets, and 300 questions.
    assert abs(metrics["coverage_90"] - 0.9) < 4 * np.sqrt(0.9 * 0.1 * (1 / 120 + 1 / 300))


def test_too_few_validation_questions_for_the_level_give_sets_of_all_options_present(test_slice):
    metrics = answer_metrics(test_slice, drawn(3, questions=5))
    assert metrics["coverage_90"] == 1
    assert metrics["set_size_90"] == pytest.approx(test_slice.options.mean())


def test_the_validation_slice_may_have_another_number_of_labels(test_slice):
    metrics = answer_metrics(test_slice, drawn(4, classes=3))
    assert {f"tempered_{name}" for name in TEMPERED_METRICS} <= set(metrics)


def test_without_a_validation_slice_nothing_is_tempered_or_conformal(test_slice, metrics):
    alone = answer_metrics(test_slice)
    assert alone == {name: metrics[name] for name in alone}
    missing = {f"tempered_{name}" for name in TEMPERED_METRICS} | {"inverse_temperature", "coverage_90", "set_size_90"}
    assert set(metrics) - set(alone) == missing


def test_a_worked_example_of_two_questions():
    logits = np.log([[[0.8, 0.1, 0.1], [0.5, 0.5, 1.0]], [[0.4, 0.3, 0.3], [0.5, 0.5, 1.0]]])
    metrics = answer_metrics(DrawnAnswers(logits, np.array([0, 1]), np.array([3, 2])))
    assert metrics["examples"] == 2
    assert metrics["accuracy"] == 0.5, "the tie goes to the first class"
    assert metrics["nll"] == pytest.approx(-(np.log(0.6) + np.log(0.5)) / 2)
    assert metrics["brier"] == pytest.approx((0.4**2 + 2 * 0.2**2 + 2 * 0.5**2) / 2)
    assert metrics["ece"] == pytest.approx((0.4 + 0.5) / 2)
    assert metrics["error_auroc"] == 1
    assert metrics["majority_accuracy"] == 0.5


def test_a_certain_wrong_answer_costs_no_more_than_the_smallest_probability():
    logits = np.array([[[1000.0, 0.0], [0.0, 1000.0]]])
    metrics = answer_metrics(DrawnAnswers(logits, np.array([1, 1]), np.array([2, 2])))
    assert metrics["nll"] == pytest.approx(-np.log(SMALLEST_PROBABILITY) / 2)


def test_error_detection_does_not_exist_where_all_answers_are_right():
    logits = np.array([[[3.0, 0.0], [2.0, 0.0]]])
    assert np.isnan(answer_metrics(DrawnAnswers(logits, np.array([0, 0]), np.array([2, 2])))["error_auroc"])


def test_an_answer_beyond_the_options_of_its_question_is_a_data_error():
    with pytest.raises(DataError, match="example 1"):
        answer_metrics(DrawnAnswers(np.zeros((1, 2, 4)), np.array([0, 3]), np.array([4, 3])))
