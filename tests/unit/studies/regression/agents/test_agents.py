import importlib
import pkgutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bayesgrid.acquisition.predictive_draws import GaussianDraws
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression import agents
from bayesgrid.studies.regression.agents import agent_modules, agent_names, build_agent
from bayesgrid.studies.regression.agents.interface import Query
from bayesgrid.studies.regression.spec import PosteriorSpec

SPEC = SimpleNamespace(posterior=PosteriorSpec())
NO_AGENT = {"interface", "highest_score"}
CANDIDATES, LABELLED = 40, 6


def _draws(seed=0, candidates=CANDIDATES):
    rng = np.random.default_rng(seed)
    return GaussianDraws(rng.normal(size=(8, candidates)), rng.uniform(0.2, 2, (8, candidates)))


def _query(query_size=7, draws=None, rng=None):
    features = np.random.default_rng(1).normal(size=(CANDIDATES + LABELLED, 3)).astype(np.float32)
    return Query(
        features_candidates=features[:CANDIDATES],
        candidate_ids=np.arange(100, 100 + CANDIDATES),
        features_labelled=features[CANDIDATES:],
        query_size=query_size,
        rng=rng or random_stream(3, "agent", 0),
        draws=lambda: draws or _draws(),
        embeddings=lambda: (features[:CANDIDATES], features[CANDIDATES:]),
    )


def test_every_module_exports_its_agents_and_no_module_is_left_out():
    exported = {}
    for module in pkgutil.iter_modules(agents.__path__):
        if module.name not in NO_AGENT:
            loaded = importlib.import_module(f"{agents.__name__}.{module.name}")
            exported.update(dict.fromkeys(loaded.AGENTS, loaded.__name__))
    assert exported == agent_modules()
    assert agent_names() == tuple(sorted(exported))


def test_names_are_known_without_numerical_libraries():
    code = (
        "import sys; from bayesgrid.studies.regression.agents import agent_names; agent_names();"
        "print([m for m in ('numpy', 'numba', 'scipy', 'torch') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_unknown_agent_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="balsa_kl_pairs"):
        build_agent("balsa_kl_pair", SPEC)


@pytest.mark.parametrize("name", agent_names())
def test_an_agent_chooses_distinct_candidates_and_repeats_with_its_stream(name):
    agent = build_agent(name, SPEC)
    once, again = agent(_query()), agent(_query())
    assert once.chosen.dtype == np.int64
    assert once.chosen.shape == (7,)
    assert len(set(once.chosen.tolist())) == 7
    assert set(once.chosen.tolist()) <= set(range(CANDIDATES))
    assert once.nonfinite == 0
    assert once.chosen.tolist() == again.chosen.tolist()


@pytest.mark.parametrize("name", agent_names())
def test_the_whole_pool_can_be_chosen_but_no_more(name):
    agent = build_agent(name, SPEC)
    assert sorted(agent(_query(CANDIDATES)).chosen.tolist()) == list(range(CANDIDATES))
    with pytest.raises(DataError):
        agent(_query(CANDIDATES + 1))


@pytest.mark.parametrize("name", sorted(set(agent_names()) - {"random", "coreset"}))
def test_scoring_agents_take_the_highest_scores_and_count_nan(name):
    draws = _draws(2)
    draws.mean[4, 11] = np.nan
    selection = build_agent(name, SPEC)(_query(draws=draws))
    assert selection.nonfinite == 1
    assert np.flatnonzero(np.isnan(selection.scores)).tolist() == [11]
    assert selection.chosen.tolist() == np.argsort(-np.nan_to_num(selection.scores, nan=-1))[:7].tolist()


@pytest.mark.parametrize("name", sorted(set(agent_names()) - {"random", "coreset"}))
def test_scores_vanish_if_the_draws_agree(name):
    agree = GaussianDraws(
        np.tile(np.linspace(-1, 1, CANDIDATES), (8, 1)), np.tile(np.geomspace(1e-4, 3, CANDIDATES), (8, 1))
    )
    scores = build_agent(name, SPEC)(_query(draws=agree)).scores
    assert scores == pytest.approx(np.zeros(CANDIDATES), abs=1e-9)


@pytest.mark.parametrize(
    "name", ["balsa_kl_grid", "balsa_kl_pairs", "balsa_kl_all_pairs", "balsa_emd", "bald_dist_std"]
)
def test_an_agent_prefers_the_candidate_whose_draws_disagree(name):
    mean, deviation = np.zeros((8, CANDIDATES)), np.ones((8, CANDIDATES))
    mean[:, 23] = np.linspace(-1, 1, 8)
    deviation[:, 23] = np.linspace(0.5, 2, 8)
    assert build_agent(name, SPEC)(_query(1, draws=GaussianDraws(mean, deviation))).chosen.tolist() == [23]


@pytest.mark.parametrize("seed", range(5))
def test_kl_grid_selects_exactly_as_bald(seed):
    draws = _draws(seed)
    chosen = [
        build_agent(name, SPEC)(_query(20, draws=draws)).chosen.tolist()
        for name in ("balsa_kl_grid", "bald_dist_entropy")
    ]
    assert chosen[0] == chosen[1]


def test_agents_differ_where_their_definitions_do():
    chosen = {
        name: tuple(build_agent(name, SPEC)(_query(10)).chosen.tolist())
        for name in set(agent_names()) - {"bald_dist_entropy"}
    }
    assert len(set(chosen.values())) == len(chosen)


def test_settings_of_the_posterior_reach_the_scores():
    coarse = SimpleNamespace(posterior=PosteriorSpec(grid_nodes=8, quantile_nodes=2))
    for name in ("balsa_kl_grid", "balsa_emd"):
        fine_scores = build_agent(name, SPEC)(_query()).scores
        assert build_agent(name, coarse)(_query()).scores != pytest.approx(fine_scores, rel=1e-6)


def test_no_pass_of_the_network_is_paid_for_in_vain():
    def refuse():
        raise AssertionError("not needed")

    query = _query()
    without_draws = Query(**{**query.__dict__, "draws": refuse})
    without_embeddings = Query(**{**query.__dict__, "embeddings": refuse})
    build_agent("coreset", SPEC)(without_draws)
    build_agent("balsa_emd", SPEC)(without_embeddings)
    build_agent("random", SPEC)(Query(**{**without_draws.__dict__, "embeddings": refuse}))
