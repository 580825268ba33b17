import dataclasses

import numpy as np
import pytest
import torch

from bayesgrid.adapters.low_rank import ANSWER_HEAD
from bayesgrid.errors import NumericalError
from bayesgrid.store.execution import Preempted
from bayesgrid.studies.bayesian_lora.methods import trained_method
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.schedules import likelihood_rate_factor
from bayesgrid.studies.bayesian_lora.training import answer_losses, batch_rows, train

TRAINED = ("mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "ivon")
CASES = [(method, "correct") for method in TRAINED] + [
    (method, "faithful") for method in ("map", "mcdropout", "ensemble", "blob", "scalabl")
]
EXTRA = {"ensemble": {"ensemble": {"members": 2}}, "ivon": {"ivon": {"effective_sample_size": 1e5}}}


@pytest.fixture
def trained(adapted_model, make_task, make_context, fit_spec):
    """A function that trains and returns the method, the adapted model and the history."""

    def make(method, *, name="run", context=None, task=None, validation=None, **groups):
        spec = fit_spec(method, **{**EXTRA.get(method, {}), **groups})
        kind = trained_method(spec)
        slots = kind.slots_of(spec)
        adapted = adapted_model(spec, len(slots))
        task = task or make_task(14)
        own = kind(spec, adapted.stack, slots, len(task))
        history = train(spec, own, adapted, task, validation or make_task(6, seed=5), context or make_context(name))
        return own, adapted, history

    return make


def _learnt(method):
    return [parameter.detach().clone() for group in method.groups().values() for parameter in group]


def test_every_epoch_shows_every_example_once():
    examples, batch = 10, 4
    seen = np.concatenate([batch_rows(3, examples, batch, step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_batch_larger_than_the_data_holds_whole_epochs():
    rows = batch_rows(3, 3, 7, 1)
    everything = np.concatenate([batch_rows(3, 3, 7, 0), rows])
    assert np.bincount(everything[:12]).tolist() == [4, 4, 4]
    assert len(rows) == 7


def test_orders_of_two_seeds_differ():
    assert batch_rows(0, 50, 20, 0).tolist() != batch_rows(1, 50, 20, 0).tolist()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_answer_losses_are_the_cross_entropy_over_the_options_present(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    options, answers = torch.tensor([5, 4, 3, 2, 5, 2]), torch.tensor([4, 0, 2, 1, 2, 0])
    found = answer_losses(logits, answers, options, smoothing)
    expected = torch.stack(
        [
            torch.nn.functional.cross_entropy(logits[row, :count], answers[row], label_smoothing=smoothing)
            for row, count in enumerate(options.tolist())
        ]
    )
    torch.testing.assert_close(found, expected)
    own, other = (torch.autograd.grad(one.sum(), logits, retain_graph=True)[0] for one in (found, expected))
    torch.testing.assert_close(own, other)


@pytest.mark.parametrize(("method", "mode"), CASES)
def test_seed_alone_learns_what_it_learns_beside_others(trained, method, mode):
    block, _, history = trained(method, name="block", mode=mode, seeds=[0, 1, 2, 3])
    alone, _, own_history = trained(method, name="alone", mode=mode, seeds=[2])
    members = len(block.slots) // 4
    own = slice(2 * members, 3 * members)
    np.testing.assert_allclose(history.losses[:, own], own_history.losses, atol=1e-5, rtol=1e-5)
    for together, single in zip(_learnt(block), _learnt(alone), strict=True):
        torch.testing.assert_close(together[own], single, atol=1e-5, rtol=1e-5)
    assert not np.allclose(history.losses[:, 0], history.losses[:, own.start])


@pytest.mark.parametrize(("method", "mode"), CASES)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(trained, make_context, method, mode):
    groups = {
        "mode": mode,
        "seeds": [0, 1],
        "training": {"steps": 8, "early_stopping": "restore_best", "evaluate_every": 2},
    }
    whole, _, whole_history = trained(method, name="whole", **groups)

    def stop_at_step_five(description, completed, total):
        if description == "training" and completed == 5:
            killed.request_stop()

    killed = make_context("killed", report_progress=stop_at_step_five)
    with pytest.raises(Preempted):
        trained(method, context=killed, **groups)
    resumed, _, history = trained(method, name="killed", **groups)
    np.testing.assert_array_equal(history.losses, whole_history.losses)
    np.testing.assert_array_equal(history.stopped_at, whole_history.stopped_at)
    for own, other in zip(_learnt(resumed), _learnt(whole), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("method", TRAINED)
def test_training_lowers_the_loss(trained, make_task, method):
    _, _, history = trained(
        method,
        task=make_task(40),
        training={"steps": 80, "learning_rate": 0.02},
        map={"standard_deviation": 1.0},
        ensemble={"members": 2},
        ivon={"effective_sample_size": 1e5, "clip": 0.1, "learning_rate": 0.1},
    )
    assert history.losses[-20:].mean() < 0.8 * history.losses[:20].mean()


def test_slots_stop_at_their_own_best_and_keep_those_weights(trained, make_task):
    validation = make_task(12, seed=5)
    groups = {
        "seeds": [0, 1, 2, 3],
        "training": {
            "steps": 60,
            "learning_rate": 0.1,
            "early_stopping": "restore_best",
            "evaluate_every": 2,
            "patience": 2,
        },
    }
    _, adapted, history = trained("mle", validation=validation, task=make_task(8), **groups)
    assert len(set(history.stopped_at.tolist())) > 1
    trained_for = np.isfinite(history.losses).sum(0)
    assert (trained_for <= 60).all()
    assert len(set(trained_for.tolist())) > 1
    stopped_early = trained_for < 60
    np.testing.assert_array_equal(trained_for[stopped_early], history.stopped_at[stopped_early] + 4)
    logits = torch.from_numpy(predict(adapted, validation, None)).double()
    answers = torch.from_numpy(validation.answers)
    for slot in range(4):
        loss = float(torch.nn.functional.cross_entropy(logits[slot], answers))
        assert loss == pytest.approx(history.best[slot], abs=1e-6)


@pytest.mark.parametrize("cut", [6, 7, 8, 9, 10])
def test_patience_survives_an_interruption(trained, make_task, make_context, cut):
    training = {
        "steps": 60,
        "learning_rate": 0.1,
        "early_stopping": "restore_best",
        "evaluate_every": 2,
        "patience": 2,
    }
    groups = {"task": make_task(8), "validation": make_task(12, seed=5), "seeds": [0, 1, 2, 3], "training": training}
    _, _, whole = trained("mle", name="whole", **groups)
    context = make_context("cut", report_progress=lambda _, done, __: context.request_stop() if done == cut else None)
    with pytest.raises(Preempted):
        trained("mle", context=context, **groups)
    _, _, resumed = trained("mle", name="cut", **groups)
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    np.testing.assert_array_equal(resumed.stopped_at, whole.stopped_at)


def test_learning_rate_of_the_natural_gradient_step_decays_too(trained):
    # The factor of the last step is 0, so training for one step moves no weight.
    own, _, _ = trained("ivon", training={"steps": 1})
    reached = own.stack.export(0)
    own.initialise()
    for path, pair in own.stack.export(0).pairs.items():
        assert torch.equal(pair.a, reached.pairs[path].a)
        assert torch.equal(pair.b, reached.pairs[path].b)


def test_weights_kept_are_those_of_the_best_step(trained, make_task, make_context):
    training = {"steps": 40, "learning_rate": 0.1, "early_stopping": "restore_best", "evaluate_every": 4}
    own, _, history = trained("mle", name="whole", task=make_task(8), training=training)
    best = int(history.stopped_at[0])
    assert best < 40
    context = make_context("cut", report_progress=lambda _, done, __: context.request_stop() if done == best else None)
    with pytest.raises(Preempted):
        trained("mle", context=context, task=make_task(8), training=training)
    arrays = context.checkpoints.latest().arrays
    for index, kept in enumerate(_learnt(own)):
        np.testing.assert_array_equal(kept.numpy(), arrays[f"parameter.{index}"])


@pytest.mark.parametrize(("rate", "last_is_best"), [(0.01, True), (0.1, False)])
def test_the_state_kept_is_the_best_of_all_validated_ones_and_of_the_last(
    adapted_model, make_task, make_context, fit_spec, rate, last_is_best
):
    # The learning rate is 0 in the last step, so there must be two after the last regular validation.
    training = {"steps": 10, "evaluate_every": 4, "patience": 9, "learning_rate": rate}
    spec = fit_spec("mle", training={**training, "early_stopping": "restore_best"})
    adapted, task, validation = adapted_model(spec), make_task(8), make_task(12, seed=5)
    states = {}
    context = make_context(report_progress=lambda _, done, __: states.update({done: adapted.stack.export(0)}))
    own = trained_method(spec)(spec, adapted.stack, trained_method(spec).slots_of(spec), len(task))
    history = train(spec, own, adapted, task, validation, context)
    kept = adapted.stack.export(0)
    losses = {}
    for step in (4, 8, 10):
        logits = torch.from_numpy(predict(adapted, validation, [states[step]])).double()[0]
        losses[step] = float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(validation.answers)))
    best = min(losses, key=losses.get)
    assert (best == 10) is last_is_best
    assert history.stopped_at.tolist() == [best]
    assert history.best[0] == pytest.approx(losses[best], abs=1e-6)
    for path, pair in kept.pairs.items():
        assert torch.equal(pair.a, states[best].pairs[path].a)
        assert torch.equal(pair.b, states[best].pairs[path].b)


def test_loss_that_is_not_finite_names_seed_and_step(trained, make_task):
    task = make_task(14)
    bad = int(batch_rows(7, 14, 4, 3)[0])
    first = np.concatenate([batch_rows(7, 14, 4, step) for step in range(3)])
    assert bad not in first
    # A state that is not a number stands for whatever made the model's arithmetic fail.
    embedded = [np.ones((len(prompt), 32), dtype=np.float32) for prompt in task.prompts]
    embedded[bad] = np.full_like(embedded[bad], np.nan)
    broken = dataclasses.replace(task, prompts=tuple(embedded), shared_prefix=0)
    with pytest.raises(NumericalError, match="seed 7, member 0, step 3"):
        trained("mle", task=broken, seeds=[7])


@pytest.mark.parametrize("stopping", ["none", "restore_best"])
def test_weights_that_are_not_finite_after_the_last_step_name_their_seed(
    adapted_model, make_task, make_context, fit_spec, stopping
):
    spec = fit_spec("mle", seeds=[3, 7], training={"steps": 2, "early_stopping": stopping})
    kind = trained_method(spec)

    class Diverging(kind):
        def follow(self, step, active):
            if step == 1:
                self.stack.parameters()[-1].data[1, 0, 0] = np.nan

    adapted, task = adapted_model(spec, 2), make_task(8)
    own = Diverging(spec, adapted.stack, kind.slots_of(spec), len(task))
    with pytest.raises(NumericalError, match="seed 7, member 0, step 1"):
        train(spec, own, adapted, task, make_task(6, seed=5), make_context())


def test_maximum_likelihood_equals_a_plain_loop_over_a_peft_adapter(trained, causal_model, make_task, fit_spec):
    import peft

    steps, batch, labels = 20, 4, [3, 4, 5]
    task = make_task(14)
    training = {"steps": steps, "batch_size": batch, "learning_rate": 0.01, "weight_decay": 0.1, "epsilon": 1e-4}
    spec = fit_spec("mle", lora={"head": False}, training=training)
    start, _, _ = trained("mle", name="start", task=task, lora={"head": False}, training={**training, "steps": 1})
    start.initialise()
    beginning = start.stack.export(0)
    own, _, history = trained("mle", name="own", task=task, lora={"head": False}, training=training)

    whole = causal_model()
    configuration = peft.LoraConfig(
        r=spec.lora.rank, lora_alpha=spec.lora.alpha, target_modules=list(spec.lora.targets), lora_dropout=0.0
    )
    model = peft.get_peft_model(whole, configuration)
    modules = {name: model.base_model.model.model.get_submodule(name) for name in beginning.pairs}
    with torch.no_grad():
        for name, pair in beginning.pairs.items():
            modules[name].lora_A["default"].weight.copy_(pair.a)
            modules[name].lora_B["default"].weight.copy_(pair.b)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=0.01, eps=1e-4, weight_decay=0.1)
    losses = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * likelihood_rate_factor(step, steps, 0.06)
        rows = batch_rows(0, len(task), batch, step)
        logits = [model(input_ids=torch.from_numpy(task.prompts[row])[None]).logits[0, -1, labels] for row in rows]
        loss = torch.nn.functional.cross_entropy(torch.stack(logits), torch.from_numpy(task.answers[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(history.losses[:, 0], losses, atol=1e-4)
    reached = own.stack.export(0)
    assert ANSWER_HEAD not in reached.pairs
    for name, pair in reached.pairs.items():
        torch.testing.assert_close(pair.a, modules[name].lora_A["default"].weight, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(pair.b, modules[name].lora_B["default"].weight, atol=1e-4, rtol=1e-4)
        assert float((pair.a - beginning.pairs[name].a).abs().max()) > 1e-2
