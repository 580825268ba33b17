import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import norm, spearmanr, wasserstein_distance

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.graph_coreset import GraphNetworkSettings, core_gcn
from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.acquisition.reference_typicality import single_cluster
from bayesgrid.acquisition.selection import k_centre_greedy
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.agents import agent_names, build_agent, reference_candidates, reference_dropout
from bayesgrid.studies.regression.agents.interface import Query
from bayesgrid.studies.regression.spec import PosteriorSpec

SPEC = SimpleNamespace(mode="faithful", posterior=PosteriorSpec(grid_nodes=200))
GRID = ["bald_dist_entropy", "balsa_entropy", "balsa_kl_difference", "balsa_kl_grid", "balsa_kl_grid_dual"]
GRID += ["balsa_kl_grid_norm", "balsa_kl_pairs", "balsa_kl_pairs_dual"]
SAMPLED = ["bald_dist_least_confident", "bald_dist_std", "bald_point", "balsa_emd", "balsa_emd_all_pairs"]
SAMPLED += ["balsa_emd_dual", "balsa_kl_anomaly", "nflows_out"]
PREDICTION = ["entropy", "least_confident", "log_density_std", "std"]
PLACES = ["coregcn", "coreset", "typiclust"]
LOCATION, SCALE = 0.4, 0.25
CANDIDATES, LABELLED, DRAWS = 40, 6, 5


def _gaussians(seed=0, narrowest=0.1, candidates=CANDIDATES, draws=DRAWS):
    """Draws for targets in [0, 1], in the network's units."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0, 1, (draws, candidates))
    deviation = np.exp(rng.uniform(np.log(narrowest), np.log(3 * narrowest), (draws, candidates)))
    return GaussianDraws((mean - LOCATION) / SCALE, deviation / SCALE)


def _refuse():
    raise AssertionError("not needed")


def _query(query_size=7, draws=None, prediction=None, seed=3, candidates=CANDIDATES):
    draws = draws or _gaussians(candidates=candidates)
    features = np.random.default_rng(1).normal(size=(candidates + LABELLED, 3)).astype(np.float32)
    return Query(
        features_candidates=features[:candidates],
        candidate_ids=np.arange(100, 100 + candidates),
        features_labelled=features[candidates:],
        query_size=query_size,
        rng=random_stream(seed, "agent", 0),
        draws=lambda: draws,
        prediction=lambda: prediction or GaussianDraws(draws.mean[:1], draws.standard_deviation[:1]),
        embeddings=lambda: (features[:candidates], features[candidates:]),
        location=LOCATION,
        scale=SCALE,
    )


def _scores(name, **changes):
    return build_agent(name, SPEC)(_query(**changes)).scores


def _entropy(density, step):
    return -np.trapezoid(density * np.log(density), dx=step, axis=-1)


def _brute_force(name, draws, prediction, seed=3):
    """Return the scores of Gaussian draws by the formula of ``name``, one candidate at a time in single precision."""
    mean, deviation = (LOCATION + SCALE * draws.mean, SCALE * draws.standard_deviation)
    width = SCALE * prediction.standard_deviation[0]
    if name in ("std", "entropy", "least_confident"):
        constant = {"entropy": 0.5 * np.log(2 * np.pi * np.e), "least_confident": 1 + 0.5 * np.log(2 * np.pi)}
        return width if name == "std" else np.log(width) + constant[name]
    if name == "log_density_std":
        mean, deviation = LOCATION + SCALE * prediction.mean, SCALE * prediction.standard_deviation
    count, candidates = mean.shape
    normal = np.sort(random_stream(seed, "agent", 0).standard_normal((candidates, count, 64), dtype=np.float32))
    nodes, step = np.linspace(0.1, 0.9, 200, dtype=np.float32), 0.8 / 200
    scores = []
    for i in range(candidates):
        members = norm(mean[:, [i]], deviation[:, [i]])
        p = members.pdf(nodes).astype(np.float32)
        y = (mean[:, [i]] + deviation[:, [i]] * normal[i]).astype(np.float32)
        q = members.pdf(mean[:, [i]] + deviation[:, [i]] * normal[i]).astype(np.float32)
        pairs = [(h, h + 1) for h in range(count - 1)]
        m = p.mean(axis=0)
        n = p / np.trapezoid(p, dx=step, axis=1)[:, None]
        g = np.exp(np.log(p[: max(count - 1, 1)]).mean(axis=0))
        kl_grid = sum((p[h] * np.log(p[h] / m)).sum() for h in range(count))
        kl_pairs = sum((p[a] * np.log(p[a] / p[b])).sum() for a, b in pairs)
        emd = sum(wasserstein_distance(y[a], y[b]) for a, b in pairs)
        scores.append(
            {
                "bald_dist_entropy": lambda p=p, m=m: sum(
                    _entropy(m / np.trapezoid(m, dx=step), step) - _entropy(p[h], step) for h in range(count)
                ),
                "bald_dist_least_confident": lambda q=q: np.log(q[-1].max()) - np.log(q[0].max()),
                "bald_dist_std": lambda y=y: torch.from_numpy(y[-1]).std() - torch.from_numpy(y[0]).std(),
                "bald_point": lambda y=y, q=q: torch.from_numpy(y[np.arange(count), q.argmax(axis=1)]).std(),
                "balsa_emd": lambda emd=emd: emd,
                "balsa_emd_all_pairs": lambda y=y: sum(
                    wasserstein_distance(y[a], y[b]) for b in range(count) for a in range(b)
                ),
                "balsa_emd_dual": lambda emd=emd: emd,
                "balsa_entropy": lambda p=p, g=g: sum(
                    _entropy(p[h], step) - _entropy(g, step) for h in range(count - 1)
                ),
                "balsa_kl_anomaly": lambda q=q: -np.log(q / q.mean(axis=0)).sum(),
                "balsa_kl_difference": lambda p=p, m=m, pairs=pairs: sum(
                    rel_entr(p[a], p[b]).sum() - rel_entr(p[a], m).sum() for a, b in pairs
                ),
                "balsa_kl_grid": lambda kl=kl_grid: kl,
                "balsa_kl_grid_dual": lambda kl=kl_grid: kl,
                "balsa_kl_grid_norm": lambda n=n: (n * np.log(n / n.mean(axis=0))).sum(),
                "balsa_kl_pairs": lambda kl=kl_pairs: kl,
                "balsa_kl_pairs_dual": lambda kl=kl_pairs: kl,
                "log_density_std": lambda q=q: torch.log(torch.from_numpy(q[0])).std(),
                "nflows_out": lambda: 0.0,
            }[name]()
        )
    return np.array(scores, dtype=np.float64)


def test_every_agent_is_of_one_kind():
    assert sorted([*GRID, *SAMPLED, *PREDICTION, *PLACES, "random"]) == list(agent_names("faithful"))


@pytest.mark.parametrize("name", GRID + SAMPLED + PREDICTION)
def test_scores_are_those_of_the_formula(name):
    draws = _gaussians(1)
    prediction = GaussianDraws(draws.mean[:1] + 0.1, draws.standard_deviation[:1])
    expected = _brute_force(name, draws, prediction)
    tolerance = 1e-4 if name == "nflows_out" else 1e-5 * np.abs(expected).max()
    assert _scores(name, draws=draws, prediction=prediction) == pytest.approx(expected, rel=2e-4, abs=tolerance)


def test_scores_are_those_that_were_written_down():
    stored = json.loads(Path(__file__).with_name("reference_scores.json").read_text(encoding="utf-8"))
    draws = GaussianDraws(np.array(stored["means"]), np.array(stored["standard_deviations"]))
    names = {name for name in (*GRID, *SAMPLED, *PREDICTION) if name != "nflows_out"}
    assert set(stored["scores"]) == names
    for name in names:
        scores = _scores(name, draws=draws, query_size=1, candidates=draws.inputs)
        assert scores == pytest.approx(np.array(stored["scores"][name]), rel=2e-4, abs=1e-5), name


@pytest.mark.parametrize("name", agent_names("faithful"))
def test_an_agent_chooses_distinct_candidates_and_repeats_with_its_stream(name):
    agent = build_agent(name, SPEC)
    once, again = agent(_query()), agent(_query())
    assert once.chosen.dtype == np.int64
    assert len(once.chosen) == len(set(once.chosen.tolist())) == 7
    assert set(once.chosen.tolist()) <= set(range(CANDIDATES))
    assert once.chosen.tolist() == again.chosen.tolist()


@pytest.mark.parametrize("name", agent_names("faithful"))
def test_the_whole_pool_can_be_chosen_but_no_more(name):
    agent = build_agent(name, SPEC)
    assert sorted(agent(_query(CANDIDATES)).chosen.tolist()) == list(range(CANDIDATES))
    with pytest.raises(DataError):
        agent(_query(CANDIDATES + 1))


@pytest.mark.parametrize("name", GRID + SAMPLED + PREDICTION)
def test_a_score_that_is_missing_ranks_first(name):
    draws = _gaussians(2)
    draws.mean[0, 11] = np.nan
    draws.standard_deviation[0, 11] = np.nan
    selection = build_agent(name, SPEC)(_query(draws=draws))
    assert selection.nonfinite == 1
    assert selection.chosen[0] == 11
    rest = np.argsort(-np.nan_to_num(selection.scores, nan=-1e9), kind="stable")[:6]
    assert selection.chosen[1:].tolist() == rest.tolist()


@pytest.mark.parametrize("name", GRID)
def test_narrow_gaussians_underflow_and_rank_first_though_not_in_mode_corrected(name):
    draws = _gaussians(3)
    narrow = np.arange(CANDIDATES) % 4 == 0
    draws.standard_deviation[:, narrow] = 1e-4 / SCALE
    selection = build_agent(name, SPEC)(_query(10, draws=draws))
    missing = ~np.isfinite(selection.scores)
    assert missing.tolist() == narrow.tolist()
    if name != "balsa_kl_difference":  # there the zero is left out, and the divergence infinite
        assert np.isnan(selection.scores[narrow]).all()
        assert selection.chosen.tolist() == np.flatnonzero(narrow).tolist()
    if name in agent_names("corrected"):
        corrected = SimpleNamespace(mode="corrected", posterior=PosteriorSpec())
        assert build_agent(name, corrected)(_query(10, draws=draws)).nonfinite == 0


@pytest.mark.parametrize("name", ["balsa_kl_grid", "balsa_kl_grid_norm", "balsa_kl_pairs", "balsa_kl_difference"])
def test_draws_that_agree_have_no_divergence(name):
    one = _gaussians(4, draws=1)
    agree = GaussianDraws(np.tile(one.mean, (DRAWS, 1)), np.tile(one.standard_deviation, (DRAWS, 1)))
    assert _scores(name, draws=agree) == pytest.approx(np.zeros(CANDIDATES), abs=1e-9)


@pytest.mark.parametrize("name", ["balsa_emd", "balsa_emd_all_pairs", "bald_point", "bald_dist_std"])
def test_draws_that_agree_have_scores_of_sampling_noise(name):
    one = _gaussians(5, draws=1)
    agree = GaussianDraws(np.tile(one.mean, (DRAWS, 1)), np.tile(one.standard_deviation, (DRAWS, 1)))
    scores = _scores(name, draws=agree)
    assert np.abs(scores).min() > 0
    assert np.abs(scores).max() > 0.01
    if name.startswith("balsa_emd"):
        assert spearmanr(scores, one.standard_deviation[0]).statistic > 0.7


@pytest.mark.parametrize("name", ["bald_dist_std", "bald_dist_least_confident"])
def test_what_lies_between_the_first_and_the_last_draw_does_not_matter(name):
    draws = _gaussians(6)
    other = _gaussians(7)
    other.mean[[0, -1]], other.standard_deviation[[0, -1]] = draws.mean[[0, -1]], draws.standard_deviation[[0, -1]]
    assert _scores(name, draws=draws).tolist() == _scores(name, draws=other).tolist()


def test_nflows_out_ranks_rounding():
    draws = _gaussians(8, candidates=400, draws=25)
    scores = _scores("nflows_out", draws=draws, candidates=400)
    assert 0 < np.abs(scores).max() < 1e-4
    assert abs(spearmanr(scores, density_disagreement(draws).mutual_information).statistic) < 0.15


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 2), min_size=CANDIDATES, max_size=CANDIDATES))
def test_the_three_uncertainties_of_a_gaussian_rank_alike(widths):
    prediction = GaussianDraws(np.zeros((1, CANDIDATES)), np.array([widths]))
    chosen = []
    for name in ("std", "entropy", "least_confident"):
        scores = build_agent(name, SPEC)(_query(CANDIDATES, prediction=prediction)).chosen
        chosen.append(np.array(widths)[scores])
    # Where logarithms of widths that differ in the last digit agree, only the order of the widths can tell.
    assert chosen[0] == pytest.approx(chosen[1], rel=1e-14)
    assert chosen[0] == pytest.approx(chosen[2], rel=1e-14)


def _flow(seed, inputs, draws=1):
    """Identity splines but for a slope, so that a draw is a Gaussian of another width within the knots."""
    rng = np.random.default_rng(seed)
    positions = np.tile(np.linspace(-5, 5, 9, dtype=np.float32), (draws, inputs, 2, 1))
    heights = np.sort(positions + rng.uniform(-0.5, 0.5, positions.shape).astype(np.float32))
    heights[..., 0], heights[..., -1] = -5, 5
    return SplineDraws(np.stack([positions, heights, np.ones_like(positions)], axis=3))


@pytest.mark.parametrize("name", PREDICTION)
def test_uncertainties_of_a_flow_are_near_those_of_many_samples(name):
    flow = _flow(0, CANDIDATES)
    prediction = SplineDraws(np.tile(flow.knots, (1, 1, 1, 1, 1)))
    scores = _scores(name, prediction=prediction)
    # The standard-normal base through the inverse splines, piece by piece.
    rng = np.random.default_rng(1)
    nodes = np.linspace(-6, 6, 40_001)
    for i in range(0, CANDIDATES, 8):
        image = nodes
        for x, y, d in flow.knots[0, i].astype(float):
            k = np.clip(np.searchsorted(x, image, side="right") - 1, 0, 7)
            width, height = x[k + 1] - x[k], y[k + 1] - y[k]
            t, s = (image - x[k]) / width, height / width
            inner = y[k] + height * (s * t**2 + d[k] * t * (1 - t)) / (s + (d[k + 1] + d[k] - 2 * s) * t * (1 - t))
            image = np.where(np.abs(image) < 5, inner, image)
        density = norm.pdf(image) * np.gradient(image, nodes) / SCALE
        targets = LOCATION + SCALE * np.interp(rng.normal(size=20_000), image, nodes)
        log_density = np.log(np.interp((targets - LOCATION) / SCALE, nodes, density))
        inside = (LOCATION + SCALE * nodes >= 0.1) & (LOCATION + SCALE * nodes <= 0.9)
        expected = {
            "std": (targets.std(), 0.3),
            "least_confident": (-density.max(), 0.1),
            "log_density_std": (log_density.std(), 0.5),
            "entropy": (-np.trapezoid((density * np.log(density))[inside], SCALE * nodes[inside]), 0.02),
        }[name]
        assert scores[i] == pytest.approx(expected[0], rel=expected[1], abs=0.01)


def test_coreset_takes_the_farthest_at_once():
    query = _query(8)
    candidates, labelled = query.embeddings()
    distances = np.linalg.norm(candidates[:, None].astype(float) - labelled, axis=2).min(axis=1)
    selection = build_agent("coreset", SPEC)(query)
    assert selection.chosen.tolist() == np.argsort(-distances)[:8].tolist()
    assert selection.scores == pytest.approx(distances)
    assert build_agent("coreset", SPEC)(_query(1)).chosen[0] == k_centre_greedy(candidates, labelled, 1).positions[0]
    assert selection.chosen.tolist() != k_centre_greedy(candidates, labelled, 8).positions.tolist()


def test_coregcn_has_the_graph_of_all_pairs():
    candidates, labelled = _query().embeddings()
    settings = GraphNetworkSettings(neighbours=None)
    expected = core_gcn(candidates, labelled, 7, random_stream(3, "agent", 0), settings=settings).positions
    assert build_agent("coregcn", SPEC)(_query()).chosen.tolist() == expected.tolist()


def test_typiclust_takes_one_cluster():
    candidates, labelled = _query().embeddings()
    expected = single_cluster(candidates, labelled, 7, random_stream(3, "agent", 0)).positions
    assert build_agent("typiclust", SPEC)(_query()).chosen.tolist() == expected.tolist()


def test_random_buys_in_descending_order_up_to_rows_that_moved():
    chosen = build_agent("random", SPEC)(_query(20)).chosen
    drawn = np.sort(random_stream(3, "agent", 0).integers(CANDIDATES, size=20))[::-1]
    assert len(set(drawn.tolist())) < 20
    pool, expected = list(range(CANDIDATES)), []
    for index in drawn:
        expected.append(pool[index] if index < len(pool) else pool[-1])
        pool.remove(expected[-1])
    assert chosen.tolist() == expected


def test_no_pass_of_the_network_is_paid_for_in_vain():
    passes = {"draws": GRID + SAMPLED, "prediction": PREDICTION, "embeddings": PLACES, None: ["random"]}
    for needed, names in passes.items():
        refused = {other: _refuse for other in passes if other not in (None, needed)}
        query = Query(**{**_query().__dict__, **refused})
        for name in names:
            assert len(build_agent(name, SPEC)(query).chosen) == 7


def test_the_grid_of_the_specification_reaches_the_scores():
    coarse = SimpleNamespace(mode="faithful", posterior=PosteriorSpec(grid_nodes=100))
    for name in GRID:
        scores = build_agent(name, coarse)(_query()).scores
        assert scores != pytest.approx(_scores(name), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "candidates", "training", "masks"),
    [
        ("random", 10_000, 0.02, 0.05),
        ("coreset", 10_000, 0.02, 0.05),
        ("std", 10_000, 0.02, 0.05),
        ("log_density_std", 10_000, 0.02, 0.05),
        ("bald_point", 10_000, 0.05, 0.05),
        ("bald_dist_least_confident", 10_000, 0.05, 0.05),
        ("nflows_out", 10_000, 0.05, 0.05),
        ("balsa_kl_pairs", 5000, 0.05, 0.05),
        ("balsa_emd_all_pairs", 5000, 0.05, 0.05),
        ("balsa_kl_grid_norm", 5000, 0.05, 0.05),
        ("balsa_kl_pairs_dual", 5000, 0.02, 0.05),
        ("balsa_kl_grid_dual", 5000, 0.02, 0.05),
        ("balsa_emd_dual", 5000, 0.02, 0.1),
    ],
)
def test_candidates_and_dropout_depend_on_the_agent(name, candidates, training, masks):
    assert reference_candidates(name) == candidates
    assert reference_dropout(name, 0.02) == (training, masks)
    if training != 0.02:
        assert reference_dropout(name, 0.3) == (0.3, 0.3)
    else:
        assert reference_dropout(name, 0.3) == (0.3, masks)


def test_there_is_no_recipe_for_an_agent_that_the_reference_does_not_have():
    with pytest.raises(ConfigurationError, match="corrected only"):
        reference_candidates("lcmd")
    with pytest.raises(ConfigurationError, match="corrected only"):
        reference_dropout("lcmd", 0.02)
