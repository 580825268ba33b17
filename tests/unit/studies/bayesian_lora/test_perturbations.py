import pytest
import torch

from bayesgrid.errors import ConfigurationError
from bayesgrid.studies.bayesian_lora.perturbations import drop_inputs, dropout_masks, flipout, random_signs


def _signs(draws, *shape, generator):
    return torch.randint(0, 2, (draws, *shape), generator=generator) * 2.0 - 1


@pytest.mark.parametrize("granularity", ["example", "token"])
def test_the_output_noise_has_the_covariance_of_the_posterior(granularity):
    generator = torch.Generator().manual_seed(0)
    draws, rank, inputs, outputs, scaling = 100_000, 3, 5, 4, 2.0
    x = torch.randn(inputs, generator=generator)
    b = torch.randn(outputs, rank, generator=generator)
    deviation = 0.1 + torch.rand(rank, inputs, generator=generator)
    noise = deviation * torch.randn(draws, rank, inputs, generator=generator)
    tokens = (1,) if granularity == "example" else (1, 1)
    codes = flipout(
        x.expand(draws, 1, 1, inputs),
        noise,
        _signs(draws, *tokens, inputs, generator=generator),
        _signs(draws, *tokens, rank, generator=generator),
    )
    outputs_noise = scaling * codes.reshape(draws, rank) @ b.T
    # Output covariance: γ² (xᵀ ⊗ B) diag(vec Ω²) (x ⊗ Bᵀ).
    left = torch.kron(x.reshape(1, -1), b)
    expected = scaling**2 * left @ torch.diag(deviation.T.reshape(-1).square()) @ left.T
    sampled = outputs_noise.T @ outputs_noise / draws
    assert float((sampled - expected).norm() / expected.norm()) < 0.03
    assert float(outputs_noise.mean(0).norm() / expected.trace().sqrt()) < 0.02


def test_each_example_sees_one_weight_matrix_whose_entries_are_the_signed_noise():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4, 6, generator=generator)
    noise = torch.randn(2, 5, 6, generator=generator)
    signs_in, signs_out = _signs(2, 3, 6, generator=generator), _signs(2, 3, 5, generator=generator)
    codes = flipout(x, noise, signs_in, signs_out)
    for slot in range(2):
        for example in range(3):
            matrix = noise[slot] * torch.outer(signs_out[slot, example], signs_in[slot, example])
            torch.testing.assert_close(codes[slot, example], x[slot, example] @ matrix.T)


def test_identical_tokens_get_identical_noise_per_example_and_different_noise_per_token():
    generator = torch.Generator().manual_seed(2)
    tokens = 64
    x = torch.randn(1, 2, 1, 32, generator=generator).expand(1, 2, tokens, 32)
    noise = torch.randn(1, 8, 32, generator=generator)
    per_example = flipout(x, noise, _signs(1, 2, 32, generator=generator), _signs(1, 2, 8, generator=generator))
    assert torch.equal(per_example, per_example[:, :, :1].expand_as(per_example))
    per_token = flipout(
        x, noise, _signs(1, 2, tokens, 32, generator=generator), _signs(1, 2, tokens, 8, generator=generator)
    )
    assert (per_token.std(2) > 1).all()


def test_noise_per_token_averages_out_over_a_sequence_and_noise_per_example_does_not():
    generator = torch.Generator().manual_seed(3)
    slots, tokens = 3000, 64
    x = torch.randn(16, generator=generator).expand(slots, 1, tokens, 16)
    noise = torch.randn(slots, 2, 16, generator=generator)
    per_example = flipout(x, noise, _signs(slots, 1, 16, generator=generator), _signs(slots, 1, 2, generator=generator))
    per_token = flipout(
        x, noise, _signs(slots, 1, tokens, 16, generator=generator), _signs(slots, 1, tokens, 2, generator=generator)
    )
    ratio = per_example.mean(2).var() / per_token.mean(2).var()
    assert float(ratio) == pytest.approx(tokens, rel=0.15)


def test_signs_of_different_granularity_are_refused():
    with pytest.raises(ValueError, match="per example or both per token"):
        flipout(torch.zeros(1, 1, 2, 3), torch.zeros(1, 4, 3), torch.ones(1, 1, 3), torch.ones(1, 1, 2, 4))


def test_random_signs_are_balanced_and_uncorrelated():
    signs = random_signs(0, "signs", 3, count=4000, size=37)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert signs.mean(0).abs().max() < 4.5 / 4000**0.5
    covariance = signs.T @ signs / 4000 - torch.eye(37)
    assert covariance.abs().max() < 5 / 4000**0.5


def test_rows_of_signs_and_masks_do_not_depend_on_how_many_are_drawn():
    assert torch.equal(random_signs(1, "s", 2, count=3, size=45), random_signs(1, "s", 2, count=9, size=45)[:3])
    few = dropout_masks(1, "m", 2, count=3, size=45, probability=0.1)
    assert torch.equal(few, dropout_masks(1, "m", 2, count=9, size=45, probability=0.1)[:3])
    assert not torch.equal(random_signs(1, "s", 2, count=3, size=45), random_signs(1, "s", 3, count=3, size=45))
    assert not torch.equal(random_signs(1, "s", 2, count=3, size=45), random_signs(2, "s", 2, count=3, size=45))


def test_dropout_masks_keep_the_mean_and_drop_the_stated_share():
    masks = dropout_masks(0, "dropout", count=2000, size=100, probability=0.1)
    kept = torch.tensor(1 / 0.9)
    assert set(masks.unique().tolist()) == {0.0, kept.item()}
    assert float((masks == 0).float().mean()) == pytest.approx(0.1, abs=0.004)
    assert float(masks.mean()) == pytest.approx(1.0, abs=0.004)
    assert (dropout_masks(0, "dropout", count=2, size=9, probability=0.0) == 1).all()
    with pytest.raises(ConfigurationError, match="dropout probability"):
        dropout_masks(0, "dropout", count=1, size=1, probability=1.0)


def test_masks_are_shared_over_the_axes_they_lack():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(4))
    draw = dropout_masks(0, "draw", count=2, size=5, probability=0.4)
    example = dropout_masks(0, "example", count=6, size=5, probability=0.4).reshape(2, 3, 5)
    token = dropout_masks(0, "token", count=24, size=5, probability=0.4).reshape(2, 3, 4, 5)
    for k in range(2):
        for n in range(3):
            for t in range(4):
                torch.testing.assert_close(drop_inputs(x, draw)[k, n, t], x[k, n, t] * draw[k])
                torch.testing.assert_close(drop_inputs(x, example)[k, n, t], x[k, n, t] * example[k, n])
                torch.testing.assert_close(drop_inputs(x, token)[k, n, t], x[k, n, t] * token[k, n, t])
