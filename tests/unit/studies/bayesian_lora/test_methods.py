import numpy as np
import pytest
import torch
from torch import nn

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.adapters.stacked import AdapterStack
from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.answer_task import chosen_questions
from bayesgrid.studies.bayesian_lora.fit import trained_parameters
from bayesgrid.studies.bayesian_lora.methods import posterior_fit, trained_method
from bayesgrid.studies.bayesian_lora.methods.interface import Slot
from bayesgrid.studies.bayesian_lora.perturbations import dropout_masks, random_signs
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.schedules import (
    cycle_length,
    divergence_weight,
    reference_divergence_rate_factor,
)
from bayesgrid.studies.bayesian_lora.training import train
from bayesgrid.studies.bayesian_lora.width_search import reference_width

CPU = torch.device("cpu")


@pytest.fixture
def trained(adapted_model, make_task, make_context, fit_spec):
    """A function that trains and returns the method, the adapted model and its questions."""

    def make(method, *, steps=15, **groups):
        spec = fit_spec(method, **{"training": {"steps": steps, "learning_rate": 0.05}, **groups})
        kind = trained_method(spec)
        slots = kind.slots_of(spec)
        adapted = adapted_model(spec, len(slots))
        task = make_task(20)
        own = kind(spec, adapted.stack, slots, len(task))
        train(spec, own, adapted, task, make_task(6, seed=5), make_context(method))
        return own, adapted, task

    return make


@pytest.fixture
def started(adapted_model, fit_spec):
    """A function that returns a method at its start."""

    def make(method, examples=50, **groups):
        spec = fit_spec(method, **groups)
        kind = trained_method(spec)
        slots = kind.slots_of(spec)
        own = kind(spec, adapted_model(spec, len(slots)).stack, slots, examples)
        own.initialise()
        return own

    return make


MODELS = {
    "qwen3-8b": ("Qwen3", 4096, 36, 32, 8, 128, 2),
    "qwen3-14b": ("Qwen3", 5120, 40, 40, 8, 128, 2),
    "qwen2.5-7b": ("Qwen2", 3584, 28, 28, 4, None, 152064),
    "qwen2.5-32b": ("Qwen2", 5120, 64, 40, 8, None, 152064),
    "llama-2-7b": ("Llama", 4096, 32, 32, 32, None, 32000),
}
PUBLISHED = [
    ("qwen3-8b", "mle", 3_866_640),
    ("qwen3-8b", "blob", 6_258_704),
    ("qwen3-8b", "scalabl", 3_867_808),
    ("qwen3-14b", "mle", 5_283_856),
    ("qwen3-14b", "blob", 8_601_616),
    ("qwen3-14b", "scalabl", 5_285_152),
    ("qwen2.5-7b", "mle", 3_768_320),
    ("qwen2.5-7b", "blob", 5_402_624),
    ("qwen2.5-7b", "scalabl", 3_769_232),
    ("qwen2.5-32b", "mle", 9_646_080),
    ("qwen2.5-32b", "blob", 14_929_920),
    ("qwen2.5-32b", "scalabl", 9_648_144),
    ("llama-2-7b", "mle", 4_483_072),
    ("llama-2-7b", "scalabl", 4_484_112),
]


@pytest.mark.parametrize(("model", "method", "published"), PUBLISHED)
def test_trained_parameters_are_as_many_as_published(fit_spec, model, method, published):
    import transformers

    family, hidden, layers, heads, key_value_heads, head_dim, outputs = MODELS[model]
    sizes = {
        "vocab_size": 10,
        "hidden_size": hidden,
        "intermediate_size": 8,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    } | ({} if head_dim is None else {"head_dim": head_dim})
    spec = fit_spec(method, lora={"rank": 8, "alpha": 16.0})
    with torch.device("meta"):
        decoder = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**sizes))
        head = nn.Linear(hidden, outputs, bias=False)
        stack, _ = AdapterStack.wrap(decoder, head, targets=spec.lora.targets, rank=8, scaling=2.0, slots=1)
    pairs = {path: LowRankPair(layer.a[0], layer.b[0]) for path, layer in stack.layers.items()}
    tensors = {}
    for path, pair in pairs.items():
        if method == "blob":
            tensors[f"{path}.standard_deviation"] = torch.empty_like(pair.a)
        elif method == "scalabl":
            names = {"scale_mean": (8,), "scale_standard_deviation": (8,), "right": pair.a.shape}
            tensors |= {f"{path}.{name}": torch.empty(shape, device="meta") for name, shape in names.items()}
    posterior = AdapterPosterior(method, AdapterWeights(pairs, 2.0), tensors)
    assert trained_parameters(spec, posterior) == published


@pytest.mark.parametrize("method", ["mle", "map", "mcdropout", "blob", "scalabl", "ivon"])
@pytest.mark.parametrize("mode", ["correct", "faithful"])
def test_posterior_mean_answers_like_the_settled_method(trained, method, mode):
    own, adapted, task = trained(method, mode=mode, seeds=[0, 1])
    settled = predict(adapted, task, None)
    means = [own.posterior(position).mean for position in range(2)]
    for layer in adapted.stack.layers.values():
        layer.projection = None
    np.testing.assert_allclose(predict(adapted, task, means), settled, atol=2e-5, rtol=1e-5)


def test_ensemble_posterior_holds_the_members_of_its_seed(trained):
    own, adapted, task = trained("ensemble", seeds=[0, 1], ensemble={"members": 3})
    settled = predict(adapted, task, None)
    posterior = own.posterior(1)
    np.testing.assert_allclose(predict(adapted, task, posterior.members), settled[3:], atol=1e-5)
    assert len({float(member.squared_norm()) for member in posterior.members}) == 3


def _noisy_logits(own, adapted, task, step):
    own.perturb(step)
    batch = prompt_batch(task.prompts, 0, device=CPU)
    with torch.no_grad():
        logits = adapted.model.logits(batch.repeated(adapted.stack.slots), adapted.stack.slots)
    own.settle()
    return logits.reshape(adapted.stack.slots, len(task), -1).numpy()


@pytest.mark.parametrize("method", ["blob", "scalabl"])
def test_noise_of_a_step_is_one_plain_adapter(trained, method):
    own, adapted, task = trained(
        method, seeds=[0, 1], variational={"flipout": "none", "initial_deviation": 0.5}, training={"steps": 3}
    )
    noisy = _noisy_logits(own, adapted, task, 9)
    weights = []
    for slot, seed in enumerate((0, 1)):
        posterior = own.posterior(slot)
        pairs = {}
        for path, pair in posterior.mean.pairs.items():
            stream = random_stream(seed, f"training noise/{path}", 9)
            if method == "blob":
                deviation = posterior.tensors[f"{path}.standard_deviation"]
                a = pair.a + deviation * torch.from_numpy(stream.standard_normal(tuple(pair.a.shape), np.float32))
            else:
                deviation = posterior.tensors[f"{path}.scale_standard_deviation"]
                scales = deviation * torch.from_numpy(stream.standard_normal(pair.rank, np.float32))
                scales = scales + posterior.tensors[f"{path}.scale_mean"]
                a = scales[:, None] * posterior.tensors[f"{path}.right"]
            pairs[path] = LowRankPair(a, pair.b)
        weights.append(AdapterWeights(pairs, posterior.mean.scaling))
    settled = predict(adapted, task, None)
    for layer in adapted.stack.layers.values():
        layer.projection = None
    np.testing.assert_allclose(noisy, predict(adapted, task, weights), atol=2e-5, rtol=1e-5)
    assert np.abs(noisy - settled).max() > 1e-3


@pytest.mark.parametrize("method", ["blob", "mcdropout"])
def test_each_example_of_a_step_sees_one_plain_adapter(trained, method):
    own, adapted, task = trained(method, variational={"initial_deviation": 0.5}, dropout={"probability": 0.3})
    noisy = _noisy_logits(own, adapted, task, 9)[0]
    posterior = own.posterior(0)
    expected = []
    for row in range(len(task)):
        pairs = {}
        for path, pair in posterior.mean.pairs.items():
            sizes = {"count": len(task), "size": pair.a.shape[1]}
            if method == "mcdropout":
                a = pair.a * dropout_masks(0, f"training dropout/{path}", 9, probability=0.3, **sizes)[row]
            else:
                draw = random_stream(0, f"training noise/{path}", 9).standard_normal(tuple(pair.a.shape), np.float32)
                inner = random_signs(0, f"flipout in/{path}", 9, **sizes)[row]
                outer = random_signs(0, f"flipout out/{path}", 9, count=len(task), size=pair.rank)[row]
                noise = posterior.tensors[f"{path}.standard_deviation"] * torch.from_numpy(draw)
                a = pair.a + outer[:, None] * noise * inner
            pairs[path] = LowRankPair(a, pair.b)
        adapter = AdapterWeights(pairs, posterior.mean.scaling)
        for layer in adapted.stack.layers.values():
            layer.projection = None
        expected.append(predict(adapted, task.rows(np.array([row])), [adapter])[0, 0])
    np.testing.assert_allclose(noisy, np.stack(expected), atol=2e-5, rtol=1e-5)


def _normal(mean, deviation):
    return torch.distributions.Normal(mean, deviation)


def _divergence(own, mode):
    """The divergence of each slot by torch.distributions, from the posterior that the method publishes."""
    total = []
    for position in range(len(own.slots)):
        posterior, value = own.posterior(position), 0.0
        for path, pair in posterior.mean.pairs.items():
            if own.spec.method == "blob":
                q = _normal(pair.a, posterior.tensors[f"{path}.standard_deviation"])
                p = _normal(torch.tensor(0.0), torch.tensor(0.2))
            else:
                q = _normal(
                    posterior.tensors[f"{path}.scale_mean"], posterior.tensors[f"{path}.scale_standard_deviation"]
                )
                p = _normal(torch.tensor(0.0), torch.tensor(1.0))
                if mode == "faithful":
                    # At the start, when the reference's prior is made of the deviations themselves.
                    p = _normal(q.scale + 1e-8, q.scale + 1.0)
                    q, p = p, q
            value += float(torch.distributions.kl_divergence(q, p).double().sum())
        total.append(value)
    return torch.tensor(total, dtype=torch.float64)


@pytest.mark.parametrize("mode", ["correct", "faithful"])
@pytest.mark.parametrize("method", ["blob", "scalabl"])
def test_divergence_is_that_of_the_published_posterior(started, method, mode):
    own = started(method, mode=mode, seeds=[0, 1])
    found = own.divergence().detach().double()
    torch.testing.assert_close(found, _divergence(own, mode), rtol=2e-3 if mode == "faithful" else 1e-5, atol=0)


@pytest.mark.parametrize("method", ["blob", "scalabl"])
def test_objective_adds_the_divergence_per_example(started, method):
    own = started(method, examples=50, training={"steps": 100}, variational={"temperature": 0.5})
    for step in (0, 3, 60):
        expected = divergence_weight(step, 100, 50, 0.5, 0.1) * own.divergence()
        torch.testing.assert_close(own.penalty(step), expected)
    assert own.penalty(60).item() == pytest.approx(0.5 * own.divergence().item() / 50)


@pytest.mark.parametrize(("method", "rate"), [("blob", 0.01), ("scalabl", 0.2)])
@pytest.mark.parametrize("weight", ["cyclic", "unscaled"])
def test_separate_step_descends_the_divergence_alone(started, method, rate, weight):
    own = started(
        method, mode="faithful", examples=4, seeds=[0, 1], training={"steps": 100}, variational={"kl_weight": weight}
    )
    step = cycle_length(4, 4) - 1
    assert step > 6
    factor = reference_divergence_rate_factor(step, 100, step + 1) if weight == "cyclic" else (100 - step) / 94
    assert own.penalty(step) is None
    parameters = [parameter for group in own.groups().values() for parameter in group]
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = torch.autograd.grad(own.divergence().sum(), parameters, allow_unused=True)
    own.follow(step, torch.tensor([True, False]))
    moved = False
    for parameter, old, gradient in zip(parameters, before, gradients, strict=True):
        expected = old.clone()
        if gradient is not None:
            expected[0] -= rate * factor * gradient[0]
            moved = moved or not torch.equal(expected, old)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-7)
    assert moved


def test_prior_energy_of_map_is_a_gaussian_log_density(started):
    own = started("map", examples=50, map={"standard_deviation": 0.3})
    factors = torch.cat([factor.detach().flatten() for factor in own.stack.parameters()])
    density = _normal(torch.tensor(0.0), torch.tensor(0.3))
    expected = (density.log_prob(torch.tensor(0.0)) - density.log_prob(factors)).sum() / 50
    assert own.penalty(0).item() == pytest.approx(float(expected), rel=1e-5)


class _OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(5, 4, bias=False)


@pytest.fixture
def newton(fit_spec):
    """A function that returns IVON on a stack of one small layer."""

    def make(examples=100, seeds=(0, 1), **ivon):
        ivon.setdefault("effective_sample_size", float(examples))
        spec = fit_spec("ivon", seeds=list(seeds), ivon=ivon, training={"steps": 1000})
        stack, _ = AdapterStack.wrap(_OneLayer(), None, targets=["q_proj"], rank=2, scaling=1.0, slots=len(seeds))
        own = trained_method(spec)(spec, stack, tuple(Slot(seed) for seed in seeds), examples)
        own.initialise()
        return own

    return make


def test_ivon_steps_equal_its_published_algorithm_by_hand(newton):
    settings = {"learning_rate": 0.05, "hessian_decay": 0.9, "initial_hessian": 0.5, "weight_decay": 0.01, "clip": 0.4}
    own = newton(examples=30, **settings)
    names = ("a", "b")
    m = {name: getattr(own.stack.layers["q_proj"], name).detach().double().numpy().copy() for name in names}
    h = {name: np.full_like(m[name], 0.5) for name in names}
    g = {name: np.zeros_like(m[name]) for name in names}
    for step in range(4):
        own.perturb(step)
        for index, name in enumerate(names):
            parameter = getattr(own.stack.layers["q_proj"], name)
            deviation = (30 * (h[name] + 0.01)) ** -0.5
            draws = [
                random_stream(seed, f"training noise/{index}", step).standard_normal(m[name].shape[1:], np.float32)
                for seed in (0, 1)
            ]
            theta = m[name] + deviation * np.stack(draws)
            np.testing.assert_allclose(parameter.detach().numpy(), theta, rtol=1e-5, atol=1e-6)
            gradient = np.sin(3 * theta) + 0.2
            parameter.grad = torch.from_numpy(gradient.astype(np.float32))
            curvature = gradient * (theta - m[name]) / deviation**2
            g[name] = 0.9 * g[name] + 0.1 * gradient
            new = 0.9 * h[name] + 0.1 * curvature + 0.5 * 0.1**2 * (h[name] - curvature) ** 2 / (h[name] + 0.01)
            direction = (g[name] / (1 - 0.9 ** (step + 1)) + 0.01 * m[name]) / (new + 0.01)
            m[name], h[name] = m[name] - 0.05 * 0.7 * np.clip(direction, -0.4, 0.4), new
        assert own.update(step, 0.7, torch.tensor([True, True]))
        for name in names:
            found = getattr(own.stack.layers["q_proj"], name).detach().numpy()
            np.testing.assert_allclose(found, m[name], rtol=2e-4, atol=1e-5)
    posterior = own.posterior(1)
    for name in names:
        expected = (30 * (h[name][1] + 0.01)) ** -0.5
        np.testing.assert_allclose(posterior.tensors[f"q_proj.{name}_standard_deviation"], expected, rtol=2e-4)


def test_ivon_leaves_a_slot_that_has_stopped_exactly_as_it_was(newton):
    own = newton()
    before = [parameter.detach().clone() for group in own.groups().values() for parameter in group]
    own.perturb(0)
    for factor in own.stack.parameters():
        factor.grad = torch.ones_like(factor)
    own.update(0, 1.0, torch.tensor([True, False]))
    after = [parameter.detach() for group in own.groups().values() for parameter in group]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[1], new[1])
        assert not torch.equal(old[0], new[0])


def test_ivon_finds_the_variance_of_a_quadratic_posterior(newton):
    examples, curvature, decay = 100, 2.0, 0.1
    own = newton(
        examples=examples, learning_rate=0.05, hessian_decay=0.999, initial_hessian=0.5, weight_decay=decay, clip=10.0
    )
    target = [torch.full_like(factor, 0.3) for factor in own.stack.parameters()]
    for step in range(4000):
        own.perturb(step)
        for factor, centre in zip(own.stack.parameters(), target, strict=True):
            factor.grad = curvature * (factor.detach() - centre)
        own.update(step, 1.0, torch.tensor([True, True]))
    # Mean loss c (θ − t)² / 2 with prior precision λ δ: a Gaussian of precision λ (c + δ) about t c / (c + δ).
    deviations = torch.cat([tensor.flatten() for tensor in own.posterior(0).tensors.values()])
    assert float(deviations.mean()) == pytest.approx((examples * (curvature + decay)) ** -0.5, rel=0.03)
    means = torch.cat([factor.detach().flatten() for factor in own.stack.parameters()])
    assert float(means.mean()) == pytest.approx(0.3 * curvature / (curvature + decay), abs=0.01)


@pytest.fixture
def widened(trained, make_context, fit_spec):
    """A trained adapter, TFB's posterior around it, and what it was fitted with."""

    def make(**width):
        own, adapted, task = trained("mle", steps=25)
        parent = own.posterior(0)
        spec = fit_spec("tfb", width={"draws": 4, "anchors": 12, **width})
        fitted = posterior_fit(spec)(spec, parent, adapted, task, 3, make_context("tfb"))
        return parent, fitted, adapted, task, spec

    return make


def _brute_force_change(parent, fitted, adapted, anchors, targets, width):
    """Change of the mean loss under the same four draws at another width, with the noise put on B A directly."""
    own = fitted.posterior
    logits = []
    for draw in range(4):
        pairs = {}
        for path, pair in own.mean.pairs.items():
            deviation = own.tensors[f"{path}.row_standard_deviation"] * width / fitted.measured["width"]
            noise = random_stream(3, f"width search/{path}", draw).standard_normal(tuple(pair.a.shape), np.float32)
            pairs[path] = LowRankPair(pair.a + deviation[:, None] * torch.from_numpy(noise), pair.b)
        logits.append(predict(adapted, anchors, [AdapterWeights(pairs, own.mean.scaling)])[0])
    probabilities = torch.from_numpy(np.stack(logits)).double().softmax(-1).mean(0)
    still = torch.from_numpy(predict(adapted, anchors, [parent.mean])[0]).double().softmax(-1)
    rows = np.arange(len(anchors))
    noisy_loss, loss = (-float(p[rows, targets].log().mean()) for p in (probabilities, still))
    return abs(noisy_loss - loss), loss


@pytest.mark.parametrize("targets", ["predicted", "labels"])
def test_tfb_takes_the_largest_width_that_a_grid_finds_feasible(widened, targets):
    parent, fitted, adapted, task, _ = widened(targets=targets)
    anchors = task.rows(chosen_questions(len(task), 12, "anchors"))
    against = anchors.answers
    if targets == "predicted":
        against = predict(adapted, anchors, [parent.mean])[0].argmax(1)
    width = fitted.measured["width"]
    assert fitted.measured["width_found"] == 1.0
    grid = width * 1.01 ** np.arange(-60, 61)
    feasible = []
    for tried in grid:
        change, loss = _brute_force_change(parent, fitted, adapted, anchors, against, tried)
        feasible.append(change <= 0.003 * loss + 0.001)
    first_violation = grid[np.argmin(feasible)]
    assert width < first_violation <= width * 1.03
    assert fitted.measured["reference_loss"] == pytest.approx(loss, abs=1e-5)


def test_tfb_keeps_the_product_and_so_the_answers_of_its_parent(widened):
    parent, fitted, adapted, task, _ = widened()
    before = predict(adapted, task, [parent.mean])
    np.testing.assert_allclose(predict(adapted, task, [fitted.posterior.mean]), before, atol=1e-4)
    for path, pair in parent.mean.pairs.items():
        own = fitted.posterior.mean.pairs[path]
        torch.testing.assert_close(own.b @ own.a, pair.b @ pair.a, atol=1e-6, rtol=1e-5)


def test_tfb_of_the_head_leaves_the_backbone_at_its_mean(widened):
    _, fitted, _, _, _ = widened(scope="head")
    assert set(fitted.posterior.tensors) == {"answer_head.row_standard_deviation"}
    held = fitted.posterior.settings["deterministic_modules"]
    assert sorted([*held, "answer_head"]) == sorted(fitted.posterior.mean.pairs)


def test_tfb_of_the_reference_returns_a_width_that_breaks_the_tolerance(widened):
    parent, fitted, adapted, task, _ = widened(
        search="smallest_violating", targets="labels", anchors=None, absolute_tolerance=0.0
    )

    def relative(width):
        change, loss = _brute_force_change(parent, fitted, adapted, task, task.answers, width)
        return change / loss

    assert fitted.measured["width"] == reference_width(relative, threshold=0.003)


@pytest.mark.parametrize(("method", "mode"), [("map", "correct"), ("blob", "correct"), ("scalabl", "faithful")])
def test_every_slot_weighs_its_prior_by_its_own_number_of_examples(started, method, mode):
    # Within the first cycles of the faithful weights, whose lengths follow from the numbers of examples.
    counts, step = [10, 40], 290
    together = started(method, counts, mode=mode, seeds=[0, 1], training={"steps": 1000})
    alone = [started(method, count, mode=mode, seeds=[0, 1], training={"steps": 1000}) for count in counts]
    everyone = [together, *alone]
    if mode == "correct":
        penalties = [own.penalty(step).detach() for own in everyone]
    else:
        for own in everyone:
            own.follow(step, torch.tensor([True, True]))
        penalties = [own.measured()["mean_deviation"] for own in everyone]
    assert [float(penalties[0][slot]) for slot in (0, 1)] == [float(penalties[1][0]), float(penalties[2][1])]
    assert float(penalties[1][1]) != float(penalties[2][1])
