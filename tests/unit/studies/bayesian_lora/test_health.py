import math

import pytest
import torch

from bayesgrid.studies.bayesian_lora.health import chance_findings


def _noisy(level, seed=0, scale=0.05):
    level = torch.as_tensor(level, dtype=torch.float64)
    return level + scale * torch.randn(level.shape, generator=torch.Generator().manual_seed(seed))


def test_a_run_at_chance_level_is_flagged_and_a_learning_one_is_not():
    never = torch.full((1000,), math.log(4))
    learning = torch.linspace(math.log(4), 0.2, 1000)
    (finding,) = chance_findings(_noisy(torch.stack([learning, never])), [10, 11], math.log(4))
    assert (finding.kind, finding.seed, finding.step) == ("never_left_chance", 11, 0)
    assert finding.value == pytest.approx(math.log(4), abs=0.02)
    assert "seed 11" in finding.message


def test_a_run_that_learned_and_fell_back_is_a_collapse_dated_to_its_fall():
    path = torch.cat([torch.linspace(math.log(2), 0.3, 600), torch.full((600,), math.log(2))])
    (finding,) = chance_findings(_noisy(path.unsqueeze(0)), [5], math.log(2))
    assert finding.kind == "collapsed_to_chance"
    # A window of 200 steps is at chance once nearly all of it comes after the fall at step 600.
    assert 570 <= finding.step <= 610


def test_a_loss_worse_than_chance_counts_and_a_slightly_better_one_does_not():
    worse, better = torch.full((1, 400), 1.5), torch.full((1, 400), math.log(2) - 0.05)
    assert len(chance_findings(worse, [0], math.log(2))) == 1
    assert chance_findings(better, [0], math.log(2)) == ()


def test_a_history_shorter_than_the_window_is_one_window():
    assert len(chance_findings(torch.full((1, 3), math.log(2)), [0], math.log(2))) == 1
    assert chance_findings(torch.empty(1, 0), [0], math.log(2)) == ()
