"""What a specification makes of its keys: parents, identities, and combinations that cannot work."""

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.grid.workflow_config import find_project
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

BASE = {"model": "smollm2_135m_instruct", "dataset": "openbookqa", "seeds": [0, 1]}
PARENTS = [("tfb", "width", parent) for parent in ("mle", "map", "blob")]
PARENTS += [(method, "laplace", parent) for method in ("laplace", "laplace_kronecker") for parent in ("mle", "map")]


def fit(**values):
    return FitSpec.from_parameters({**BASE, **values}, where="test")


def evaluation(**values):
    return BayesianLoraSpec.from_parameters({**BASE, **values}, where="test")


@pytest.mark.parametrize("mode", ["correct", "faithful"])
@pytest.mark.parametrize(("method", "group", "parent"), PARENTS)
def test_the_parent_is_the_fit_that_stands_alone_under_the_same_mode(method, group, parent, mode):
    own = fit(method=method, mode=mode, training={"steps": 7}, **{group: {"parent": parent}})
    alone = fit(method=parent, mode=mode, training={"steps": 7})
    needed = own.needs()["parent"]
    assert needed.sparse_parameters() == alone.sparse_parameters()
    assert needed.slug() == alone.slug()


@pytest.mark.parametrize("method", ["mle", "map", "zeroshot"])
def test_methods_without_draws_share_one_evaluation(method):
    plain = evaluation(method=method)
    drawn = evaluation(method=method, evaluation={"draws": 3, "antithetic": True, "trial": 2})
    assert plain.sparse_parameters() == drawn.sparse_parameters()
    assert plain.slug() == drawn.slug()


def test_keys_of_other_methods_make_no_second_run():
    assert fit(method="mle").sparse_parameters() == fit(method="mle", width={"anchors": 9}).sparse_parameters()
    assert fit(method="scalabl").slug() == fit(method="scalabl", variational={"flipout": "none"}).slug()
    assert fit(method="blob").slug() != fit(method="blob", variational={"flipout": "none"}).slug()


@pytest.mark.parametrize("mode", ["correct", "faithful"])
@pytest.mark.parametrize("method", ["map", "blob", "scalabl", "mcdropout", "ensemble", "tfb", "laplace_kronecker"])
def test_a_specification_survives_its_sparse_form(method, mode):
    spec = evaluation(method=method, mode=mode, evaluation={"dataset": "arc_easy"}, training={"weight_decay": 0.0})
    again = BayesianLoraSpec.from_parameters(spec.sparse_parameters(), where="test")
    assert again == spec or again.sparse_parameters() == spec.sparse_parameters()
    assert again.fit().sparse_parameters() == spec.fit().sparse_parameters()


@pytest.mark.parametrize(
    "values",
    [
        {"method": "ensemble", "evaluation": {"scope": "head"}},
        {"method": "blob", "lora": {"head": False}, "evaluation": {"scope": "head"}},
        {"method": "laplace", "lora": {"head": False}, "laplace": {"scope": "head"}},
        {"method": "laplace", "laplace": {"parent": "mle", "prior_precision": "parent"}},
        {"method": "laplace_kronecker", "mode": "faithful", "laplace": {"parent": "map", "prior_precision": "parent"}},
        {"method": "mcdropout", "evaluation": {"antithetic": True}},
        {"method": "zeroshot", "dataset": "mmlu_college_physics"},
        {"method": "mle", "labels": {"budget": 10**6}},
        {"method": "mle", "dataset": "diamonds"},
    ],
)
def test_what_cannot_work_is_refused_before_any_job(values):
    catalog = load_dataset_catalog(find_project() / "config" / "datasets.yaml")
    with pytest.raises(ConfigurationError):
        evaluation(**values).check(catalog)


@pytest.mark.parametrize(
    "values", [{"variational": {"kl_warmup_fraction": 1.0}}, {"laplace": {"prior_precision": -1.0}}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ConfigurationError):
        fit(method="blob", **values)
