import numpy as np
import pytest
import torch

from bayesgrid.acquisition.answer_disagreement import mutual_information, predictive_entropy
from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.studies.bayesian_lora_active.bought_labels import pool
from bayesgrid.studies.bayesian_lora_active.label_choice import choose_labels
from bayesgrid.studies.bayesian_lora_active.posterior_answers import mean_features, posterior_logits
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

RULES = ("random", "entropy", "least_confidence", "margin", "bald", "power_bald", "batch_bald", "k_means_plus_plus")


def random_adapter(adapted, seed):
    torch.manual_seed(seed)
    pairs = {
        path: LowRankPair(torch.randn_like(layer.a[0]) * 0.2, torch.randn_like(layer.b[0]) * 0.2)
        for path, layer in adapted.stack.layers.items()
    }
    return AdapterWeights(pairs, adapted.stack.scaling)


def ensemble_of(adapted, members):
    adapters = tuple(random_adapter(adapted, seed) for seed in range(members))
    return AdapterPosterior("ensemble", adapters[0], {}, {"members": members}, adapters)


@pytest.fixture
def setting(active_spec, tiny_model, questions):
    def make(rule, **acquisition):
        spec = active_spec("ensemble", acquisition={"rule": rule, **acquisition})
        adapted = tiny_model(spec)
        return spec, ensemble_of(adapted, 3), adapted, questions(40)

    return make


@pytest.mark.parametrize("rule", RULES)
def test_a_choice_is_of_distinct_questions_of_the_pool_and_the_same_from_the_same_seed(setting, rule):
    spec, posterior, adapted, task = setting(rule)
    labelled = np.arange(0, 40, 5)
    first, second = (choose_labels(spec, posterior, adapted, task, labelled, 0, 1).rows for _ in range(2))
    assert len(set(first.tolist())) == spec.acquisition.per_round
    assert set(first.tolist()) <= set(pool(0, spec.acquisition, labelled, 40, 1).tolist())
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("rule", RULES)
def test_a_choice_does_not_look_at_the_answers(setting, questions, rule):
    spec, posterior, adapted, task = setting(rule)
    wrong = type(task)(**{**vars(task), "answers": (task.answers + 1) % 3})
    choices = [choose_labels(spec, posterior, adapted, one, np.arange(5), 0, 0).rows.tolist() for one in (task, wrong)]
    assert choices[0] == choices[1]


@pytest.mark.parametrize(("rule", "score"), [("bald", mutual_information), ("entropy", predictive_entropy)])
def test_the_highest_scores_of_answers_computed_one_by_one_are_bought(setting, rule, score):
    spec, posterior, adapted, task = setting(rule, pool=None)
    labelled = np.arange(5)
    choice = choose_labels(spec, posterior, adapted, task, labelled, 0, 0)
    logits = np.empty((3, 40, 3))
    adapted.stack.resize(1)
    with torch.no_grad():
        for member, adapter in enumerate(posterior.members):
            adapted.stack.load(0, adapter)
            for row, prompt in enumerate(task.prompts):
                batch = prompt_batch([prompt], 0, device=adapted.device)
                logits[member, row] = adapted.model.logits(batch).numpy()[0]
    scores = score(drawn_log_probabilities(logits, task.options))
    scores[labelled] = -1
    assert set(choice.rows.tolist()) == set(np.argsort(scores)[-4:].tolist())
    assert choice.scores.max() == pytest.approx(scores.max(), rel=1e-4)


def test_bald_of_one_draw_is_normalised_entropy(active_spec, tiny_model, questions):
    spec = active_spec("mle", mode="faithful", acquisition={"rule": "bald", "pool": None})
    adapted, task = tiny_model(spec), questions(30)
    posterior = AdapterPosterior("mle", random_adapter(adapted, 0))
    choice = choose_labels(spec, posterior, adapted, task, np.arange(5), 0, 0)
    asked = task.rows(np.arange(5, 30))
    p = np.exp(drawn_log_probabilities(posterior_logits(spec, posterior, adapted, asked, 0), asked.options))[0]
    np.testing.assert_allclose(choice.scores, -(p * np.log(p)).sum(1) / np.log(3), rtol=1e-6)


def test_features_times_the_head_are_the_logits_of_the_mean(active_spec, tiny_model, questions):
    spec = active_spec("mle", lora={"head": False})
    adapted, task = tiny_model(spec), questions(12)
    posterior = AdapterPosterior("mle", random_adapter(adapted, 0))
    features = mean_features(posterior, adapted, task)
    logits = posterior_logits(spec, posterior, adapted, task, 0)[0]
    np.testing.assert_allclose(features @ adapted.model.head.weight.numpy().T, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["blob", "mcdropout"])
@pytest.mark.parametrize("mode", ["correct", "faithful"])
def test_draws_are_one_function_in_the_correct_mode_and_made_anew_for_every_batch_in_the_faithful_one(
    active_spec, tiny_model, questions, method, mode
):
    values = active_spec(method).model_dump(mode="json") | {"mode": mode}
    spec = BayesianLoraActiveSpec.from_parameters(values, where="test")
    adapted = tiny_model(spec)
    mean = random_adapter(adapted, 0)
    tensors = {f"{path}.standard_deviation": 0.1 + pair.a.abs() for path, pair in mean.pairs.items()}
    blob = method == "blob"
    posterior = AdapterPosterior(method, mean, tensors if blob else {}, {} if blob else {"dropout": 0.3})
    task = questions(1)
    # More copies of one question than share a batch.
    copies = task.rows(np.zeros(30, dtype=np.int64))
    logits = posterior_logits(spec, posterior, adapted, copies, 0)
    assert logits.shape == (3, 30, 3)
    spread = np.ptp(logits, axis=1).max()
    assert spread > 1e-2 if mode == "faithful" else spread < 1e-4
    assert np.ptp(logits, axis=0).max() > 1e-2
    np.testing.assert_array_equal(posterior_logits(spec, posterior, adapted, copies, 0), logits)
    assert all(layer.projection is None for layer in adapted.stack.layers.values())
