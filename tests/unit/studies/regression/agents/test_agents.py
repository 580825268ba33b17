import importlib
import pkgutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from bayesgrid.acquisition.predictive_draws import GaussianDraws
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression import agents
from bayesgrid.studies.regression.agents import agent_modules, agent_names, build_agent
from bayesgrid.studies.regression.agents.interface import Query
from bayesgrid.studies.regression.spec import PosteriorSpec, RegressionSpec

SPEC = SimpleNamespace(mode="corrected", posterior=PosteriorSpec())
NO_AGENT = {"interface", "highest_score"}
DISAGREEMENT = [
    "balsa_emd",
    "balsa_emd_all_pairs",
    "balsa_entropy",
    "balsa_kl_all_pairs",
    "balsa_kl_difference",
    "balsa_kl_grid",
    "balsa_kl_pairs",
    "bald_dist_entropy",
    "bald_dist_least_confident",
    "bald_dist_std",
    "bald_point",
    "nflows_out",
]
UNCERTAINTY = ["entropy", "least_confident", "std"]
MIXTURE = ["balsa_kl_anomaly"]
SCORED_BATCHES = ["badge", "balsa_kl_pairs_power", "weighted_coreset"]
PLACES = ["bait", "coregcn", "coreset", "kmeans_pp", "lcmd", "typiclust"]
CANDIDATES, LABELLED = 40, 6


def _draws(seed=0, candidates=CANDIDATES):
    rng = np.random.default_rng(seed)
    return GaussianDraws(rng.normal(size=(8, candidates)), rng.uniform(0.2, 2, (8, candidates)))


def _refuse():
    raise AssertionError("not needed")


def _query(query_size=7, draws=None, rng=None):
    features = np.random.default_rng(1).normal(size=(CANDIDATES + LABELLED, 3)).astype(np.float32)
    return Query(
        features_candidates=features[:CANDIDATES],
        candidate_ids=np.arange(100, 100 + CANDIDATES),
        features_labelled=features[CANDIDATES:],
        query_size=query_size,
        rng=rng or random_stream(3, "agent", 0),
        draws=lambda: draws or _draws(),
        prediction=_refuse,
        embeddings=lambda: (features[:CANDIDATES], features[CANDIDATES:]),
        location=0.4,
        scale=0.2,
    )


def test_every_module_exports_its_agents_and_no_module_is_left_out():
    exported = {"corrected": {}, "faithful": {}}
    for module in pkgutil.iter_modules(agents.__path__):
        if module.name not in NO_AGENT:
            loaded = importlib.import_module(f"{agents.__name__}.{module.name}")
            exported["corrected"].update(dict.fromkeys(loaded.AGENTS, loaded.__name__))
            exported["faithful"].update(dict.fromkeys(getattr(loaded, "FAITHFUL_AGENTS", {}), loaded.__name__))
    for mode, modules in exported.items():
        assert modules == agent_modules(mode)
        assert agent_names(mode) == tuple(sorted(modules))


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


@pytest.mark.parametrize(("mode", "table"), [("corrected", "AGENTS"), ("faithful", "FAITHFUL_AGENTS")])
def test_an_agent_that_its_module_does_not_build_is_refused_with_what_to_add(monkeypatch, mode, table):
    # The module `badge` builds no agent of this name, and none at all for the reference's mode.
    monkeypatch.setitem(agents._MODULE_OF_AGENT, "half_added", "badge")
    spec = SimpleNamespace(mode=mode, posterior=PosteriorSpec())
    with pytest.raises(ConfigurationError, match=f"'half_added'.*mode: {mode}.*add it to {table} of the module"):
        build_agent("half_added", spec)


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


def test_every_agent_is_of_one_kind():
    assert sorted([*DISAGREEMENT, *UNCERTAINTY, *MIXTURE, *SCORED_BATCHES, *PLACES, "random"]) == list(agent_names())


@pytest.mark.parametrize("name", DISAGREEMENT + UNCERTAINTY + MIXTURE)
def test_scoring_agents_take_the_highest_scores_and_count_nan(name):
    draws = _draws(2)
    draws.mean[4, 11] = np.nan
    selection = build_agent(name, SPEC)(_query(draws=draws))
    assert selection.nonfinite == 1
    assert np.flatnonzero(np.isnan(selection.scores)).tolist() == [11]
    assert selection.chosen.tolist() == np.argsort(-np.nan_to_num(selection.scores, nan=-99))[:7].tolist()


@pytest.mark.parametrize("name", SCORED_BATCHES)
def test_batch_agents_report_their_scores_and_take_nan_last(name):
    draws = _draws(2)
    draws.mean[4, 11] = np.nan
    selection = build_agent(name, SPEC)(_query(CANDIDATES, draws=draws))
    assert selection.nonfinite == 1
    assert np.flatnonzero(np.isnan(selection.scores)).tolist() == [11]
    assert selection.chosen[-1] == 11


@pytest.mark.parametrize("name", PLACES)
def test_agents_of_places_take_embeddings_that_are_not_finite_last(name):
    candidates, labelled = (encoding.copy() for encoding in _query().embeddings())
    candidates[11, 1] = np.nan
    query = Query(**{**_query(CANDIDATES).__dict__, "embeddings": lambda: (candidates, labelled)})
    selection = build_agent(name, SPEC)(query)
    assert selection.scores is None
    assert selection.nonfinite == 1
    assert selection.chosen[-1] == 11


@pytest.mark.parametrize("name", DISAGREEMENT)
def test_scores_vanish_if_the_draws_agree(name):
    agree = GaussianDraws(
        np.tile(np.linspace(-1, 1, CANDIDATES), (8, 1)), np.tile(np.geomspace(1e-4, 3, CANDIDATES), (8, 1))
    )
    scores = build_agent(name, SPEC)(_query(draws=agree)).scores
    assert scores == pytest.approx(np.zeros(CANDIDATES), abs=1e-9)


@pytest.mark.parametrize("name", sorted({*DISAGREEMENT} - {"balsa_kl_difference"}))
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


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_uncertainty_is_that_of_the_draws_and_not_their_disagreement(name):
    mean, deviation = np.zeros((8, CANDIDATES)), np.ones((8, CANDIDATES))
    mean[:, 23] = np.linspace(-9, 9, 8)
    deviation[:, 5] = 1.1
    scores = build_agent(name, SPEC)(_query(1, draws=GaussianDraws(mean, deviation))).scores
    assert np.argmax(scores) == 5
    assert scores[23] == pytest.approx(scores[0], rel=1e-12)


def test_uncertainties_are_the_means_over_draws_of_what_they_are_called():
    draws = _draws(3)
    scores = {name: build_agent(name, SPEC)(_query(draws=draws)).scores for name in UNCERTAINTY}
    members = norm(draws.mean, draws.standard_deviation)
    assert scores["std"] == pytest.approx(draws.standard_deviation.mean(axis=0))
    assert scores["entropy"] == pytest.approx(members.entropy().mean(axis=0))
    assert scores["least_confident"] == pytest.approx(-members.pdf(draws.mean).mean(axis=0))


@pytest.mark.parametrize("seed", range(3))
def test_one_gaussian_has_one_uncertainty(seed):
    deviation = np.tile(np.random.default_rng(seed).uniform(0.1, 2, CANDIDATES), (8, 1))
    draws = GaussianDraws(np.zeros((8, CANDIDATES)), deviation)
    chosen = [build_agent(name, SPEC)(_query(20, draws=draws)).chosen.tolist() for name in UNCERTAINTY]
    assert chosen[0] == chosen[1] == chosen[2]


def test_bald_point_is_the_spread_of_the_medians():
    draws = _draws(4)
    assert build_agent("bald_point", SPEC)(_query(draws=draws)).scores == pytest.approx(draws.mean.std(axis=0))


def test_nflows_out_estimates_the_mutual_information():
    draws = _draws(5)
    exact = build_agent("bald_dist_entropy", SPEC)(_query(draws=draws)).scores / draws.draws
    runs = [
        build_agent("nflows_out", SPEC)(_query(draws=draws, rng=np.random.default_rng(seed))).scores
        for seed in range(60)
    ]
    error = np.mean(runs, axis=0) - exact
    assert (np.abs(error) < 5 * np.std(runs, axis=0) / np.sqrt(60) + 0.01).all()
    assert np.std(runs, axis=0).min() > 0


def test_the_difference_is_that_of_pairs_and_grid():
    scores = {
        name: build_agent(name, SPEC)(_query()).scores
        for name in ("balsa_kl_pairs", "balsa_kl_grid", "balsa_kl_difference")
    }
    assert scores["balsa_kl_difference"] == pytest.approx(scores["balsa_kl_pairs"] - scores["balsa_kl_grid"])


def test_the_anomaly_is_minus_the_expected_log_density_under_the_mixture():
    draws = _draws(7)
    expected = np.empty(CANDIDATES)
    for i in range(CANDIDATES):
        members = [norm(m, s) for m, s in zip(draws.mean[:, i], draws.standard_deviation[:, i], strict=True)]
        nodes = np.linspace(-20, 20, 20_001)
        mixture = np.mean([member.pdf(nodes) for member in members], axis=0)
        expected[i] = -np.trapezoid(mixture * np.log(np.maximum(mixture, 1e-300)), nodes)
    assert build_agent("balsa_kl_anomaly", SPEC)(_query(draws=draws)).scores == pytest.approx(expected, abs=0.01)


def test_bald_on_highest_densities_is_their_spread():
    draws = _draws(8)
    peaks = norm(draws.mean, draws.standard_deviation).logpdf(draws.mean)
    scores = build_agent("bald_dist_least_confident", SPEC)(_query(draws=draws)).scores
    assert scores == pytest.approx(peaks.std(axis=0))


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("balsa_kl_pairs_dual", "corrected", ["faithful only", "take balsa_kl_pairs"]),
        ("balsa_emd_dual", "corrected", ["faithful only", "take balsa_emd"]),
        ("balsa_kl_grid_norm", "corrected", ["faithful only", "normalised", "take balsa_kl_grid"]),
        ("log_density_std", "corrected", ["faithful only", "take std"]),
        ("lcmd", "faithful", ["corrected only", "reference code has no such agent"]),
        ("balsa_kl_all_pairs", "faithful", ["corrected only"]),
        ("balsa_kl_pairz", "faithful", ["unknown agent", "did you mean 'balsa_kl_pairs'"]),
    ],
)
def test_an_agent_of_the_other_mode_is_refused_with_what_to_take_instead(name, mode, words):
    for attempt in (
        lambda: build_agent(name, SimpleNamespace(mode=mode, posterior=PosteriorSpec())),
        lambda: validate_parameters(
            RegressionSpec, {"dataset": "diamonds", "agent": name, "seeds": [0], "mode": mode}, where="here"
        ),
    ):
        with pytest.raises(ConfigurationError) as error:
            attempt()
        for word in words:
            assert word in str(error.value)


@pytest.mark.parametrize("mode", ["corrected", "faithful"])
def test_a_specification_takes_every_agent_of_its_mode(mode):
    for name in agent_names(mode):
        assert RegressionSpec(dataset="diamonds", agent=name, seeds=(0,), mode=mode).agent == name


def test_badge_scores_are_the_deviations_of_the_mean_density():
    draws = _draws(6)
    samples = draws.mean + draws.standard_deviation * np.random.default_rng(0).standard_normal((20_000, 8, CANDIDATES))
    expected = samples.std(axis=(0, 1))
    assert build_agent("badge", SPEC)(_query(draws=draws)).scores == pytest.approx(expected, rel=0.02)


def test_a_weighted_coreset_spreads_what_kl_pairs_puts_together():
    candidates = np.array([[10.0, 0], [10.1, 0], [10.2, 0], [0, 5.0]])
    mean = np.zeros((2, 4))
    mean[1] = [3.0, 2.9, 2.8, 1.5]
    query = _query(2, draws=GaussianDraws(mean, np.ones((2, 4))))
    changes = {"candidate_ids": np.arange(4), "embeddings": lambda: (candidates, np.zeros((1, 2)))}
    query = Query(**{**query.__dict__, **changes})
    assert build_agent("balsa_kl_pairs", SPEC)(query).chosen.tolist() == [0, 1]
    assert build_agent("weighted_coreset", SPEC)(query).chosen.tolist() == [0, 3]


def test_agents_differ_where_their_definitions_do():
    chosen = {
        name: tuple(build_agent(name, SPEC)(_query(10)).chosen.tolist())
        for name in set(agent_names()) - {"bald_dist_entropy"}
    }
    assert len(set(chosen.values())) == len(chosen)


def test_settings_of_the_posterior_reach_the_scores():
    coarse = SimpleNamespace(mode="corrected", posterior=PosteriorSpec(grid_nodes=8, quantile_nodes=2))
    for name in ("balsa_kl_grid", "balsa_kl_difference", "balsa_kl_anomaly", "balsa_emd"):
        fine_scores = build_agent(name, SPEC)(_query()).scores
        assert build_agent(name, coarse)(_query()).scores != pytest.approx(fine_scores, rel=1e-6)


def test_no_pass_of_the_network_is_paid_for_in_vain():
    query = _query()
    without_draws = Query(**{**query.__dict__, "draws": _refuse})
    without_embeddings = Query(**{**query.__dict__, "embeddings": _refuse})
    for name in PLACES:
        build_agent(name, SPEC)(without_draws)
    for name in [*DISAGREEMENT, *UNCERTAINTY, *MIXTURE, "balsa_kl_pairs_power"]:
        build_agent(name, SPEC)(without_embeddings)
    build_agent("random", SPEC)(Query(**{**without_draws.__dict__, "embeddings": _refuse}))
