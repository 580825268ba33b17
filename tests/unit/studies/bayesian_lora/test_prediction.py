import dataclasses

import numpy as np
import pytest
import torch

from bayesgrid.errors import NumericalError
from bayesgrid.studies.bayesian_lora.prediction import predict, prediction_frame

LABELS = (3, 4, 5)


@pytest.fixture
def draws(adapted_model, fit_spec, random_weights):
    adapted = adapted_model(fit_spec("mle"), labels=LABELS)
    return adapted, [random_weights(adapted.stack, seed=seed) for seed in range(3)]


def _tokens(monkeypatch, count):
    monkeypatch.setattr("bayesgrid.studies.bayesian_lora.prediction.tokens_at_once", lambda device: count)


def test_logits_are_those_of_the_merged_model(draws, make_task, merged_logits):
    adapted, weights = draws
    task = make_task(9)
    found = predict(adapted, task, weights)
    for slot, one in enumerate(weights):
        function, point = merged_logits(one, LABELS)
        expected = np.stack([function(point, prompt).numpy() for prompt in task.prompts])
        np.testing.assert_allclose(found[slot], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 70, 10_000])
def test_batch_size_changes_nothing(draws, make_task, monkeypatch, tokens):
    adapted, weights = draws
    task = make_task(9)
    expected = predict(adapted, task, weights)
    _tokens(monkeypatch, tokens)
    np.testing.assert_allclose(predict(adapted, task, weights), expected, atol=1e-5)


def test_no_batch_has_more_tokens_than_the_bound_and_short_prompts_fill_it(draws, make_task, monkeypatch):
    adapted, weights = draws
    task = make_task(40, longest=30)
    _tokens(monkeypatch, 300)
    seen = []
    answer = adapted.model.logits
    monkeypatch.setattr(
        adapted.model, "logits", lambda batch, *rest: seen.append(tuple(batch.tokens.shape)) or answer(batch, *rest)
    )
    predict(adapted, dataclasses.replace(task, shared_prefix=0), weights)
    assert max(rows * length for rows, length in seen) <= 300
    assert sum(rows for rows, _ in seen) == 3 * 40
    assert seen[0][0] > seen[-1][0]


def test_order_of_questions_changes_nothing(draws, make_task):
    adapted, weights = draws
    task = make_task(9)
    order = np.random.default_rng(0).permutation(9)
    expected = predict(adapted, task, weights)
    np.testing.assert_allclose(predict(adapted, task.rows(order), weights), expected[:, order], atol=1e-5)


def test_draws_together_answer_as_one_by_one(draws, make_task, monkeypatch):
    adapted, weights = draws
    task = make_task(9)
    _tokens(monkeypatch, 130)
    together = predict(adapted, task, weights)
    alone = np.concatenate([predict(adapted, task, [one]) for one in weights])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_shared_prefix_changes_nothing(draws, make_task):
    adapted, weights = draws
    task = make_task(9)
    whole = dataclasses.replace(task, shared_prefix=0)
    np.testing.assert_allclose(predict(adapted, task, weights), predict(adapted, whole, weights), atol=1e-5)


def test_draws_of_the_head_answer_as_whole_adapters_do(draws, make_task):
    adapted, weights = draws
    task = make_task(9)
    heads = [
        dataclasses.replace(one, pairs={**weights[0].pairs, "answer_head": one.pairs["answer_head"]}) for one in weights
    ]
    together = predict(adapted, task, heads)
    assert adapted.stack.slots == 1
    alone = np.concatenate([predict(adapted, task, [one]) for one in heads])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_adapters_that_share_all_but_one_layer_are_computed_apart(draws, make_task):
    adapted, weights = draws
    task = make_task(9)
    name = next(iter(weights[0].pairs))
    mixed = [weights[0], dataclasses.replace(weights[0], pairs={**weights[0].pairs, name: weights[1].pairs[name]})]
    alone = np.concatenate([predict(adapted, task, [one]) for one in mixed])
    np.testing.assert_allclose(predict(adapted, task, mixed), alone, atol=1e-5, rtol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_states_below_the_adapters_change_nothing_in_half_precision(adapted_model, fit_spec, make_task, random_weights):
    task = dataclasses.replace(make_task(9), shared_prefix=0)
    split = adapted_model(fit_spec("mle", lora={"top_blocks": 1}), layers=3, dtype=torch.bfloat16)
    plain = adapted_model(fit_spec("mle"), layers=3, dtype=torch.bfloat16)
    weights = [random_weights(split.stack)]
    silent = random_weights(plain.stack, size=0.0)
    whole = [dataclasses.replace(one, pairs={**silent.pairs, **one.pairs}) for one in weights]
    found, expected = predict(split, split.prepared(task), weights), predict(plain, task, whole)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_states_below_the_adapters_change_nothing(adapted_model, fit_spec, make_task, random_weights, tmp_path):
    task = make_task(9)
    spec = fit_spec("mle", lora={"top_blocks": 1})
    split = adapted_model(spec, layers=3)
    weights = [random_weights(split.stack, seed=seed) for seed in range(2)]
    assert all(path.startswith("layers.2.") or path == "answer_head" for path in split.stack.layers)
    found = predict(split, split.prepared(task), weights)
    cached = dataclasses.replace(split, cache=tmp_path / "states")
    np.testing.assert_array_equal(predict(split, cached.prepared(task), weights), found)
    np.testing.assert_array_equal(predict(split, cached.prepared(task), weights), found)
    plain = adapted_model(fit_spec("mle"), layers=3)
    silent = random_weights(plain.stack, size=0.0)
    whole = [dataclasses.replace(one, pairs={**silent.pairs, **one.pairs}) for one in weights]
    np.testing.assert_allclose(found, predict(plain, task, whole), atol=1e-5)


def test_adapters_in_the_stack_answer_when_none_are_given(draws, make_task):
    adapted, weights = draws
    task = make_task(5)
    expected = predict(adapted, task, weights)
    np.testing.assert_array_equal(predict(adapted, task, None), expected)


def test_logit_that_is_not_finite_names_the_question(draws, make_task):
    adapted, weights = draws
    task = make_task(5)
    states = [np.ones((len(prompt), 32), dtype=np.float32) for prompt in task.prompts]
    states[3][:] = np.inf
    broken = dataclasses.replace(task, prompts=tuple(states), shared_prefix=0)
    with pytest.raises(NumericalError, match="q0-3"):
        predict(adapted, broken, weights[:1])


def test_noise_is_set_before_each_batch_and_sees_whole_prompts(draws, make_task, monkeypatch):
    adapted, weights = draws
    task = make_task(7)
    monkeypatch.setattr("bayesgrid.studies.bayesian_lora.prediction._ROWS_OF_ONE_NOISE", 9)
    lengths, numbers = [], []
    layer = adapted.stack.layers["layers.0.self_attn.q_proj"]

    def project(inputs, a, slots):
        lengths.append(inputs.shape[2])
        return torch.einsum("knld,krd->knlr", inputs, a)

    def perturb(number):
        numbers.append(number)
        layer.projection = project

    expected = predict(adapted, task, weights)
    found = predict(adapted, task, weights, perturb=perturb)
    assert numbers == [0, 1, 2]
    ordered = sorted(len(prompt) for prompt in task.prompts)
    assert lengths == [max(ordered[:3]), max(ordered[3:6]), ordered[6]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_frame_has_one_row_per_question_and_draw(make_task):
    task = make_task(3, options=[3, 2, 3])
    logits = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3)
    frame = prediction_frame(4, "test", task, logits)
    assert list(frame.columns) == [
        "seed", "split", "example", "group", "answer", "options", "draw", "logit_0", "logit_1", "logit_2",
    ]  # fmt: skip
    assert frame["example"].tolist() == ["q0-0", "q0-0", "q0-1", "q0-1", "q0-2", "q0-2"]
    assert frame["draw"].tolist() == [0, 1, 0, 1, 0, 1]
    assert frame["options"].tolist() == [3, 3, 2, 2, 3, 3]
    row = frame[(frame["example"] == "q0-1") & (frame["draw"] == 1)].iloc[0]
    assert row[["logit_0", "logit_1", "logit_2"]].tolist() == logits[1, 1].tolist()
    assert {frame[name].dtype for name in ("seed", "answer", "options", "draw")} == {np.dtype("int64")}
    assert frame["logit_0"].dtype == np.dtype("float64")
