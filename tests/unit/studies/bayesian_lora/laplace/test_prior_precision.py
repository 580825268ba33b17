import pytest
import torch

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.errors import StateError
from bayesgrid.studies.bayesian_lora.fit_parameters import LaplaceSpec
from bayesgrid.studies.bayesian_lora.laplace.prior_precision import chosen_precision, precision_metrics

SPECTRUM = torch.tensor([4.0, 1.0, 0.25])


def _parent(method="map", **settings):
    return AdapterPosterior(method, AdapterWeights({}, 1.0), {}, settings)


def test_the_parents_precision_is_that_of_the_prior_it_was_trained_with():
    parent = _parent(prior_standard_deviation=0.1)
    assert chosen_precision(LaplaceSpec(prior_precision="parent"), parent) == pytest.approx(100.0)
    assert chosen_precision(LaplaceSpec(prior_precision=3.0), parent) == 3.0
    assert chosen_precision(LaplaceSpec(), parent) is None


@pytest.mark.parametrize("method", ["mle", "map"])
def test_a_parent_that_names_no_prior_cannot_give_its_precision(method):
    with pytest.raises(StateError, match="names no prior"):
        chosen_precision(LaplaceSpec(prior_precision="parent"), _parent(method))


def test_all_three_precisions_are_recorded_as_far_as_there_are():
    found = precision_metrics(7.0, _parent(prior_standard_deviation=0.5), SPECTRUM, 2.0, -3.0)
    evidence = found["evidence_prior_precision"]
    # MacKay's fixed point.
    assert evidence * 2.0 == pytest.approx(float((SPECTRUM / (SPECTRUM + evidence)).sum()), rel=1e-6)
    assert (found["prior_precision"], found["parent_prior_precision"]) == (7.0, 4.0)
    assert set(precision_metrics(7.0, _parent("mle"), SPECTRUM, 0.0, -3.0)) == {"prior_precision"}
