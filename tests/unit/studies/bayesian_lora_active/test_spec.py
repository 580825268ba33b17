from types import SimpleNamespace

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.registry import study_specification
from bayesgrid.studies.bayesian_lora_active.spec import SPEC


class _Catalog:
    """A data set of a stated size, as far as a specification reads it."""

    def __init__(self, train=300, test=100):
        self.entries = {}
        self.questions = SimpleNamespace(splits={"train": train, "test": test}, labels=("A", "B"))

    def choice_questions(self, _name):
        return self.questions


def test_the_study_is_found_by_its_name():
    assert study_specification("bayesian_lora_active") is SPEC


@pytest.mark.parametrize(
    ("method", "groups", "words"),
    [
        ("mle", {}, "one draw"),
        ("map", {"acquisition": {"rule": "batch_bald"}}, "one draw"),
        ("blob", {"acquisition": {"draws": 1}}, "one draw"),
        ("laplace", {"acquisition": {"rule": "batch_bald"}}, "no joint disagreement"),
        ("blob", {"mode": "faithful", "acquisition": {"rule": "batch_bald"}}, "no joint disagreement"),
        ("zeroshot", {"acquisition": {"rule": "entropy"}}, "nothing is learnt"),
        ("blob", {"acquisition": {"rounds": 80}}, "training split is smaller"),
        ("blob", {"acquisition": {"evaluation_examples": 101}}, "test split is smaller"),
        ("blob", {"acquisition": {"pool": 3}}, "fewer questions than are bought"),
        ("blob", {"labels": {"budget": 20}}, "labels.budget"),
        ("blob", {"training": {"early_stopping": "restore_best"}}, "early_stopping"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(active_spec, method, groups, words):
    with pytest.raises(ConfigurationError, match=words):
        active_spec(method, **groups).check(_Catalog())


@pytest.mark.parametrize(
    ("method", "rule"),
    [("mle", "entropy"), ("ensemble", "bald"), ("laplace", "bald"), ("tfb", "batch_bald")],
)
def test_a_rule_that_fits_the_method_is_accepted(active_spec, method, rule):
    active_spec(method, acquisition={"rule": rule}).check(_Catalog())


def test_faithful_means_reseeded_subsamples_and_no_held_out_labels_unless_said_otherwise(active_spec):
    values = {"model": "m", "dataset": "d", "method": "blob", "seeds": [0], "mode": "faithful"}
    faithful = SPEC.from_parameters(values, where="test")
    assert faithful.acquisition.subsamples == "reseeded"
    assert faithful.acquisition.hold_out_from is None
    assert faithful.variational.optimisers == "separate"
    corrected = SPEC.from_parameters({**values, "acquisition": {"subsamples": "independent"}}, where="test")
    assert corrected.acquisition.hold_out_from is None
    assert corrected.sparse_parameters()["acquisition"]["subsamples"] == "independent"
    assert active_spec("mle", mode="faithful").sparse_parameters()["mode"] == "faithful"
    active_spec("mle", mode="faithful").check(_Catalog())


def test_parameters_of_another_rule_make_no_second_run(active_spec):
    usual = active_spec(acquisition={"rule": "bald"})
    assert active_spec(acquisition={"rule": "bald", "power": 3.0}).sparse_parameters() == usual.sparse_parameters()
    powered = [active_spec(acquisition={"rule": "power_bald", "power": power}) for power in (1.0, 3.0)]
    assert powered[0].sparse_parameters() != powered[1].sparse_parameters()


@pytest.mark.parametrize("method", ["mle", "tfb", "laplace"])
def test_a_run_builds_on_no_other_and_trains_what_its_method_starts_from(active_spec, method):
    spec = active_spec(method)
    assert spec.needs() == {}
    assert spec.trained().method == "mle"
    assert spec.trained().training == spec.training
