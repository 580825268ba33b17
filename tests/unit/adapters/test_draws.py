"""Draws of adapters: their moments are the closed forms, and draw k is the same whatever is drawn beside it."""

import dataclasses

import pytest
import torch

from bayesgrid.adapters.draws import draw_adapter, draw_adapters
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.errors import ConfigurationError, StateError

GAUSSIAN = ["blob", "scalabl", "tfb", "ivon"]
DRAWN = [*GAUSSIAN, "mcdropout"]
DRAWS = 20_000
# Entries of a sample covariance from n draws have a relative standard error of about sqrt(2 / n) = 0.01; 5 of them.
TOLERANCE = 0.05
NAME = "layers.0.self_attn.v_proj"


def positive(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3 + 0.1


def rotated(pair: LowRankPair) -> tuple[LowRankPair, torch.Tensor]:
    """Return the factors with orthogonal columns of B, and the singular values of B."""
    left, values, right = torch.linalg.svd(pair.b, full_matrices=False)
    return LowRankPair(right @ pair.a, left * values), values


@pytest.fixture
def posterior_of(random_adapter):
    def build(method: str, *, dropout: float = 0.25, **adapter) -> AdapterPosterior:
        mean = random_adapter(**({"labels": 3, "layers": [0, 2]} | adapter))
        tensors: dict[str, torch.Tensor] = {}
        settings, members = {}, ()
        pairs = dict(mean.pairs)
        for number, (name, pair) in enumerate(mean.pairs.items()):
            if method == "blob":
                tensors[f"{name}.standard_deviation"] = positive(*pair.a.shape, seed=number)
            elif method == "scalabl":
                scale = positive(pair.rank, seed=number) + 0.5
                tensors[f"{name}.scale_mean"] = scale
                tensors[f"{name}.scale_standard_deviation"] = positive(pair.rank, seed=number + 50)
                tensors[f"{name}.right"] = pair.a / scale[:, None]
            elif method == "tfb":
                pairs[name], values = rotated(pair)
                tensors[f"{name}.row_standard_deviation"] = 0.1 / values
            elif method == "ivon":
                tensors[f"{name}.a_standard_deviation"] = positive(*pair.a.shape, seed=number)
                tensors[f"{name}.b_standard_deviation"] = positive(*pair.b.shape, seed=number + 50)
            elif method == "laplace":
                tensors[f"{name}.draws_a"] = positive(3, *pair.a.shape, seed=number)
                tensors[f"{name}.draws_b"] = positive(3, *pair.b.shape, seed=number + 50)
        if method == "mcdropout":
            settings = {"dropout": dropout}
        if method == "ensemble":
            members = (
                mean,
                *(random_adapter(**({"labels": 3, "layers": [0, 2]} | adapter), seed=seed) for seed in (1, 2)),
            )
        return AdapterPosterior(method, AdapterWeights(pairs, mean.scaling), tensors, settings, members)

    return build


def same(left: AdapterWeights, right: AdapterWeights) -> bool:
    return left.pairs.keys() == right.pairs.keys() and all(
        torch.equal(pair.a, right.pairs[name].a) and torch.equal(pair.b, right.pairs[name].b)
        for name, pair in left.pairs.items()
    )


def many_updates(posterior: AdapterPosterior, name: str, x: torch.Tensor) -> torch.Tensor:
    """Return ``scaling · b a x`` of module ``name`` for draws 0, 1, ... as ``[draws, d_out]``."""
    held = [module for module in posterior.mean.pairs if module != name]
    alone = dataclasses.replace(
        posterior,
        settings={**posterior.settings, "deterministic_modules": held},
        tensors={key: tensor for key, tensor in posterior.tensors.items() if key.startswith(f"{name}.")},
    )
    scaling = posterior.mean.scaling
    draws = (weights.pairs[name] for weights in draw_adapters(alone, range(DRAWS), seed=7))
    return torch.stack([scaling * pair.b @ (pair.a @ x) for pair in draws]).double()


def assert_moments(values: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> None:
    spread = covariance.diagonal().sqrt()
    assert ((values.mean(0) - mean).abs() < 5 * spread / DRAWS**0.5 + 1e-6).all()
    scale = torch.outer(spread, spread)
    assert ((torch.cov(values.T) - covariance).abs() < TOLERANCE * scale).all()


def moments_of_update(posterior: AdapterPosterior, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and covariance of ``scaling · b a x`` from the formula of each method."""
    pair, scaling = posterior.mean.pairs[NAME], posterior.mean.scaling
    a, b, x = pair.a.double(), pair.b.double(), x.double()
    t = {key.removeprefix(f"{NAME}."): v.double() for key, v in posterior.tensors.items() if key.startswith(f"{NAME}.")}
    match posterior.method:
        case "blob":
            inner = t["standard_deviation"].square() @ x.square()
        case "scalabl":
            inner = t["scale_standard_deviation"].square() * (t["right"] @ x).square()
        case "tfb":
            inner = t["row_standard_deviation"].square() * x.square().sum()
        case "ivon":
            inner = t["a_standard_deviation"].square() @ x.square()
        case "mcdropout":
            p = posterior.settings["dropout"]
            return scaling * b @ a @ x, scaling**2 * p / (1 - p) * (b @ a) @ torch.diag(x.square()) @ (b @ a).T
    covariance = scaling**2 * b @ torch.diag(inner) @ b.T
    if posterior.method == "ivon":
        second = t["b_standard_deviation"].square() @ (inner + (a @ x).square())
        covariance = covariance + scaling**2 * torch.diag(second)
    return scaling * b @ a @ x, covariance


@pytest.mark.parametrize("method", DRAWN)
def test_the_update_of_an_input_has_the_closed_form_moments(method, posterior_of):
    posterior = posterior_of(method, layers=[0], rank=3)
    x = torch.randn(32, generator=torch.Generator().manual_seed(1))
    assert_moments(many_updates(posterior, NAME, x), *moments_of_update(posterior, x))


def test_tfb_noise_is_isotropic_in_the_column_space_of_b(posterior_of, random_adapter):
    original = random_adapter(layers=[0], labels=3, rank=4, scaling=1.5)
    posterior = posterior_of("tfb", layers=[0], rank=4, scaling=1.5)
    for name in (NAME, ANSWER_HEAD):
        pair, before = posterior.mean.pairs[name], original.pairs[name]
        torch.testing.assert_close(pair.b @ pair.a, before.b @ before.a, atol=1e-5, rtol=0)
        basis = torch.linalg.svd(before.b, full_matrices=False)[0].double()
        x = torch.eye(32)[5]
        values = many_updates(posterior, name, x)
        expected = 1.5**2 * 0.1**2 * basis @ basis.T
        assert_moments(values, 1.5 * (before.b @ before.a)[:, 5].double(), expected)
    assert posterior.mean.pairs[ANSWER_HEAD].rank == 3, "three labels leave a rank of three"


def test_scalabl_draws_differ_from_the_mean_in_r_numbers_only(posterior_of):
    posterior = posterior_of("scalabl")
    right = posterior.tensors[f"{NAME}.right"]
    ratio = draw_adapter(posterior, 4, seed=1).pairs[NAME].a / right
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert ratio[:, 0].unique().numel() == posterior.mean.pairs[NAME].rank


def test_dropout_masks_whole_input_features_and_rescales_the_others(posterior_of):
    posterior = posterior_of("mcdropout", dropout=0.25)
    kept = []
    for draw in draw_adapters(posterior, range(300), seed=0):
        ratio = draw.pairs[NAME].a / posterior.mean.pairs[NAME].a
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        assert ((ratio[0] == 0) | torch.isclose(ratio[0], torch.tensor(4 / 3))).all()
        kept.append(ratio[0] != 0)
    # 9600 Bernoulli draws have a standard error of 0.0044.
    assert float(torch.stack(kept).float().mean()) == pytest.approx(0.75, abs=0.022)


def test_no_dropout_is_the_mean(posterior_of):
    posterior = posterior_of("mcdropout", dropout=0)
    assert same(draw_adapter(posterior, 3, seed=0), posterior.mean)


@pytest.mark.parametrize("method", ["zeroshot", "mle", "map"])
def test_every_draw_of_a_point_method_is_its_mean(method, posterior_of):
    posterior = posterior_of(method)
    for draw in draw_adapters(posterior, [0, 5], seed=3, antithetic=True):
        assert same(draw, posterior.mean)


def test_draws_of_an_ensemble_run_through_its_members(posterior_of):
    posterior = posterior_of("ensemble")
    for index, draw in enumerate(draw_adapters(posterior, range(7), seed=3)):
        assert same(draw, posterior.members[index % 3])
    assert not same(posterior.members[1], posterior.members[2])


@pytest.mark.parametrize("method", DRAWN)
def test_a_draw_does_not_depend_on_what_is_drawn_beside_it(method, posterior_of):
    posterior = posterior_of(method)
    together = list(draw_adapters(posterior, range(6), seed=2))
    for index in (5, 0, 3):
        assert same(draw_adapter(posterior, index, seed=2), together[index])
    for weights, index in zip(draw_adapters(posterior, [4, 1, 4], seed=2), [4, 1, 4], strict=True):
        assert same(weights, together[index])


@pytest.mark.parametrize("method", DRAWN)
def test_a_draw_does_not_depend_on_order_or_number_of_the_modules(method, posterior_of):
    posterior = posterior_of(method)
    full = draw_adapter(posterior, 3, seed=2)
    backwards = dataclasses.replace(
        posterior, mean=AdapterWeights(dict(reversed(posterior.mean.pairs.items())), posterior.mean.scaling)
    )
    assert same(draw_adapter(backwards, 3, seed=2), full)
    fewer = dataclasses.replace(
        posterior,
        mean=AdapterWeights({NAME: posterior.mean.pairs[NAME]}, posterior.mean.scaling),
        tensors={key: tensor for key, tensor in posterior.tensors.items() if key.startswith(NAME)},
    )
    alone = draw_adapter(fewer, 3, seed=2).pairs[NAME]
    assert torch.equal(alone.a, full.pairs[NAME].a)
    assert torch.equal(alone.b, full.pairs[NAME].b)


@pytest.mark.parametrize("method", DRAWN)
def test_seed_draw_and_module_each_give_their_own_noise(method, posterior_of):
    posterior = posterior_of(method)
    # The same mean and spread everywhere, so that only the noise can make two modules differ.
    other = "layers.2.self_attn.v_proj"
    posterior.mean.pairs[other] = posterior.mean.pairs[NAME]
    for key in [key for key in posterior.tensors if key.startswith(NAME)]:
        posterior.tensors[key.replace(NAME, other)] = posterior.tensors[key]
    draws = [
        pairs[module].a
        for pairs in (draw_adapter(posterior, index, seed=seed).pairs for seed in (0, 1) for index in (0, 1))
        for module in (NAME, other)
    ]
    assert not any(torch.equal(left, right) for i, left in enumerate(draws) for right in draws[:i])


@pytest.mark.parametrize("method", GAUSSIAN)
def test_antithetic_draws_mirror_each_other_about_the_mean(method, posterior_of):
    posterior = posterior_of(method)
    plain = list(draw_adapters(posterior, range(4), seed=2))
    paired = list(draw_adapters(posterior, range(4), seed=2, antithetic=True))
    for even in (0, 2):
        assert same(paired[even], plain[even])
        assert not same(paired[even + 1], plain[even + 1])
        for name, mean in posterior.mean.pairs.items():
            left, right = paired[even].pairs[name], paired[even + 1].pairs[name]
            torch.testing.assert_close((left.a + right.a) / 2, mean.a, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close((left.b + right.b) / 2, mean.b, atol=1e-6, rtol=1e-5)
            assert not torch.equal(left.a, mean.a)


@pytest.mark.parametrize("method", DRAWN)
def test_the_scope_head_draws_the_head_alone_and_draws_it_the_same(method, posterior_of):
    posterior = posterior_of(method)
    everything = draw_adapter(posterior, 2, seed=5)
    head = draw_adapter(posterior, 2, seed=5, scope="head")
    assert torch.equal(head.pairs[ANSWER_HEAD].a, everything.pairs[ANSWER_HEAD].a)
    assert not torch.equal(head.pairs[ANSWER_HEAD].a, posterior.mean.pairs[ANSWER_HEAD].a)
    for name in posterior.mean.pairs.keys() - {ANSWER_HEAD}:
        assert torch.equal(head.pairs[name].a, posterior.mean.pairs[name].a)
        assert torch.equal(head.pairs[name].b, posterior.mean.pairs[name].b)
        assert not torch.equal(everything.pairs[name].a, posterior.mean.pairs[name].a)


def test_modules_may_be_held_at_their_mean(posterior_of):
    posterior = dataclasses.replace(
        posterior_of("mcdropout"), settings={"dropout": 0.5, "deterministic_modules": [NAME]}
    )
    draw = draw_adapter(posterior, 0, seed=0)
    assert torch.equal(draw.pairs[NAME].a, posterior.mean.pairs[NAME].a)
    assert not torch.equal(draw.pairs[ANSWER_HEAD].a, posterior.mean.pairs[ANSWER_HEAD].a)


def test_a_draw_leaves_the_posterior_as_it_was(posterior_of):
    posterior = posterior_of("blob")
    before = {name: (pair.a.clone(), pair.b.clone()) for name, pair in posterior.mean.pairs.items()}
    drawn = draw_adapter(posterior, 0, seed=0)
    drawn.pairs[NAME].a.zero_()
    assert all(torch.equal(posterior.mean.pairs[name].a, a) for name, (a, _) in before.items())


def test_laplace_draws_are_the_stored_ones(posterior_of):
    posterior = posterior_of("laplace")
    draw = draw_adapter(posterior, 2, seed=0)
    assert torch.equal(draw.pairs[NAME].a, posterior.tensors[f"{NAME}.draws_a"][2])
    assert torch.equal(draw.pairs[NAME].b, posterior.tensors[f"{NAME}.draws_b"][2])
    with pytest.raises(StateError, match="fewer draws"):
        draw_adapter(posterior, 3, seed=0)
    with pytest.raises(StateError, match="Jacobians"):
        draw_adapter(dataclasses.replace(posterior, tensors={}), 0, seed=0)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("blob", {"index": -1}, "negative"),
        ("mle", {"index": -1}, "negative"),
        ("blob", {"seed": -1}, "negative"),
        ("blob", {"scope": "backbone"}, "scope"),
        ("mcdropout", {"antithetic": True}, "antithetic"),
        ("ensemble", {"antithetic": True}, "antithetic"),
        ("ensemble", {"scope": "head"}, "their own decoders"),
    ],
)
def test_draws_that_make_no_sense_are_refused(method, arguments, message, posterior_of):
    with pytest.raises(ConfigurationError, match=message):
        draw_adapter(posterior_of(method), **({"index": 0, "seed": 0} | arguments))


def test_a_head_that_is_not_adapted_cannot_be_drawn(posterior_of):
    with pytest.raises(ConfigurationError, match="answer head"):
        draw_adapter(posterior_of("blob", labels=0), 0, seed=0, scope="head")


def test_a_posterior_without_its_tensors_is_refused_before_the_first_draw(posterior_of):
    with pytest.raises(StateError, match="missing"):
        draw_adapters(dataclasses.replace(posterior_of("blob"), tensors={}), [0], seed=0)
