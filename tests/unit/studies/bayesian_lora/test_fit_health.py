import numpy as np
import pytest
import torch

from bayesgrid.studies.bayesian_lora.fit_health import collapsed_slots, data_free_deviation, fit_health
from bayesgrid.studies.bayesian_lora.methods import trained_method
from bayesgrid.studies.bayesian_lora.schedules import cycle_length, likelihood_rate_factor

STEPS = 40
WHOLE = np.array([STEPS, STEPS])


@pytest.fixture
def started(adapted_model, fit_spec):
    def make(method, steps=STEPS, **groups):
        spec = fit_spec(method, seeds=[0, 1], training={"steps": steps}, **groups)
        kind = trained_method(spec)
        own = kind(spec, adapted_model(spec, 2).stack, kind.slots_of(spec), 12)
        own.initialise()
        return own

    return make


@pytest.mark.parametrize("method", ["blob", "scalabl"])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_data_free_path_of_the_default_is_adamw_on_the_penalty_alone(started, method, temperature):
    own = started(method, variational={"temperature": temperature})
    path = data_free_deviation(own)
    parameters = own.deviation_parameters()
    optimiser = torch.optim.AdamW(parameters, lr=0.01, eps=1e-6, weight_decay=0.0)
    for step in range(STEPS):
        torch.testing.assert_close(path[step], own.measured()["mean_deviation"].double(), rtol=2e-3, atol=0)
        optimiser.zero_grad()
        own.penalty(step).sum().backward()
        optimiser.param_groups[0]["lr"] = 0.01 * likelihood_rate_factor(step, STEPS)
        optimiser.step()
    torch.testing.assert_close(path[STEPS], own.measured()["mean_deviation"].double(), rtol=2e-3, atol=0)
    assert (path[STEPS] / path[0] > 1.05).all()


@pytest.mark.parametrize("method", ["blob", "scalabl"])
def test_data_free_path_of_the_reference_is_its_own_step_alone(started, method):
    # Two cycles of the weight, which acts at the end of each.
    steps = 2 * cycle_length(12, 4) + 8
    variational = {"kl_learning_rate": 0.005, "temperature": 0.5}
    own = started(method, steps, mode="faithful", variational=variational)
    path = data_free_deviation(own)
    for step in range(steps):
        own.follow(step, torch.tensor([True, True]))
    torch.testing.assert_close(path[steps], own.measured()["mean_deviation"].double(), rtol=5e-3, atol=0)
    assert ((path[steps] / path[0] - 1).abs() > 0.005).all()


def test_other_objectives_and_methods_have_no_such_path(started):
    assert data_free_deviation(started("mle")) is None
    assert data_free_deviation(started("blob", variational={"kl_weight": "unscaled"})) is None
    assert data_free_deviation(started("scalabl", mode="faithful", variational={"prior": "standard"})) is None


def test_width_is_reported_as_free_of_data_where_it_is(started, make_task, caplog):
    own = started("scalabl")
    losses = np.full((STEPS, 2), 0.1, dtype=np.float32)
    path = data_free_deviation(own)
    with torch.no_grad():
        for parameter in own.deviation_parameters():
            # Slot 0 ends on the path's value after 30 steps, slot 1 far from it.
            for slot, width in ((0, float(path[30, 0])), (1, 3 * float(path[STEPS, 1]))):
                parameter[slot] = np.log(np.expm1(width - 1e-6))
    found = fit_health(own, losses, np.array([30, STEPS]), make_task(12))
    assert found["width_is_data_free"].tolist() == [1.0, 0.0]
    torch.testing.assert_close(found["data_free_deviation"], torch.stack([path[30, 0], path[STEPS, 1]]))
    assert found["collapsed"].tolist() == [0.0, 0.0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "seed 0" in caplog.text


def test_collapse_is_judged_by_the_steps_a_slot_trained(started, make_task, caplog):
    own = started("mle")
    losses = np.full((STEPS, 2), np.nan, dtype=np.float32)
    losses[:, 0] = np.log(3) + 0.01
    losses[:10, 1] = 0.3
    assert collapsed_slots(losses, WHOLE, own, make_task(12)).tolist() == [1.0, 0.0]
    assert "seed 0" in caplog.text


def test_collapse_after_the_weights_that_were_kept_does_not_count(started, make_task):
    losses = np.full((300, 2), np.log(3), dtype=np.float32)
    losses[:50] = 0.3
    assert collapsed_slots(losses, np.array([50, 300]), started("mle"), make_task(12)).tolist() == [0.0, 1.0]


def test_chance_is_that_of_the_options_present(started, make_task):
    own = started("mle")
    losses = np.full((STEPS, 2), np.log(2), dtype=np.float32)
    assert collapsed_slots(losses, WHOLE, own, make_task(12)).tolist() == [0.0, 0.0]
    assert collapsed_slots(losses, WHOLE, own, make_task(12, options=[2] * 12)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("few", "many"), [(3, 4), (3, 5), (2, 10)])
def test_chance_is_the_mean_logarithm_of_unequal_numbers_of_options(started, make_task, few, many):
    # The mean logarithm lies between the logarithms of two whole numbers, nearer to one or the other.
    task = make_task(12, labels=tuple(range(3, 13)), options=[few] * 6 + [many] * 6)
    chance = (np.log(few) + np.log(many)) / 2
    losses = np.full((STEPS, 2), chance, dtype=np.float32)
    losses[:, 1] -= 0.03
    assert collapsed_slots(losses, WHOLE, started("mle"), task).tolist() == [1.0, 0.0]
