import math

import pytest
import torch

from bayesgrid.errors import NumericalError
from bayesgrid.studies.bayesian_lora.data_free_width import data_free_width
from bayesgrid.studies.bayesian_lora.health import chance_findings, require_finite_losses, width_findings
from bayesgrid.studies.bayesian_lora.reference_initialisation import scalabl_start


def _noisy(level, seed=0, scale=0.05):
    level = torch.as_tensor(level, dtype=torch.float64)
    return level + scale * torch.randn(level.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_fit_and_names_seed_and_step(broken):
    with pytest.raises(NumericalError, match=r"blob: the loss of seed 7, 9 is not finite at step 41") as caught:
        require_finite_losses(torch.tensor([0.5, broken, broken]), [3, 7, 9], 41, where="blob")
    assert str(broken) in str(caught.value)
    require_finite_losses(torch.tensor([0.5, 1e30]), [0, 1], 0, where="blob")


def test_a_run_at_chance_level_is_flagged_and_a_learning_one_is_not():
    never = torch.full((1000,), math.log(4))
    learning = torch.linspace(math.log(4), 0.2, 1000)
    (finding,) = chance_findings(_noisy(torch.stack([learning, never])), [10, 11], 4)
    assert (finding.kind, finding.seed, finding.step) == ("never_left_chance", 11, 0)
    assert finding.value == pytest.approx(math.log(4), abs=0.02)
    assert "seed 11" in finding.message


def test_a_run_that_learned_and_fell_back_is_a_collapse_dated_to_its_fall():
    path = torch.cat([torch.linspace(math.log(2), 0.3, 600), torch.full((600,), math.log(2))])
    (finding,) = chance_findings(_noisy(path.unsqueeze(0)), [5], 2)
    assert finding.kind == "collapsed_to_chance"
    # A window of 200 steps is at chance once nearly all of it comes after the fall at step 600.
    assert 570 <= finding.step <= 610


def test_a_loss_worse_than_chance_counts_and_a_slightly_better_one_does_not():
    worse, better = torch.full((1, 400), 1.5), torch.full((1, 400), math.log(2) - 0.05)
    assert len(chance_findings(worse, [0], 2)) == 1
    assert chance_findings(better, [0], 2) == ()


def test_a_history_shorter_than_the_window_is_one_window():
    assert len(chance_findings(torch.full((1, 3), math.log(2)), [0], 2)) == 1
    assert chance_findings(torch.empty(1, 0), [0], 2) == ()


def test_a_width_on_the_data_free_path_is_flagged_and_one_moved_by_data_is_not():
    start = scalabl_start([0, 1], "layer", 8, 64)
    steps = list(range(0, 1001, 50))
    path = data_free_width("scalabl", start.mean, start.deviation, 1000, 316)[steps].T
    informed = path[1] * torch.linspace(1, 0.6, len(steps))
    findings = width_findings(torch.stack([path[0] * 1.002, informed]), path, steps, [20, 21])
    assert [(finding.kind, finding.seed, finding.step) for finding in findings] == [("width_set_by_schedule", 20, 0)]
    assert findings[0].value == pytest.approx(0.002, rel=1e-4)


def test_a_width_that_returns_to_the_path_in_the_first_half_is_flagged_from_there():
    steps = [0, 10, 20, 30, 40, 50, 60]
    data_free = torch.linspace(0.1, 1.0, 7)
    returning, late = torch.ones(7), torch.ones(7)
    returning[1:3] = 1.5
    late[1:5] = 1.5
    findings = width_findings(torch.stack([returning, late]) * data_free, data_free, steps, [0, 1])
    assert [(finding.seed, finding.step) for finding in findings] == [(0, 30)]


def test_widths_that_are_not_numbers_never_count_as_on_the_path():
    assert width_findings(torch.full((1, 4), math.nan), torch.ones(4), [0, 1, 2, 3], [0]) == ()
