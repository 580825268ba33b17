"""Laplace's posterior with a curvature that is diagonal in a Kronecker-factored basis of every weight matrix.

For a weight matrix W ``[o, d]`` used at T tokens, with inputs ``a_t`` and gradients ``g_{k,t}`` of the k-th curvature
output (column k of S^T f, ``softmax_curvature``) in the outputs of the matrix, the exact curvature of the matrix is
``sum_n sum_k vec(D_nk) vec(D_nk)^T`` with ``D_nk = sum_t g_nkt a_nt^T``. Both kinds of block below approximate it as
``(U_G x U_A) diag(lambda) (U_G x U_A)^T``:

* :func:`eigenvalue_corrected_block` (default): the bases are the eigenvectors of ``sum D D^T`` and ``sum D^T D``, and
  ``lambda_ij = sum (U_G^T D U_A)_ij^2``. The diagonal in that basis is exact, so the trace is; padding has no gradient
  and cannot enter.
* :func:`token_summed_block` (reference behaviour): inputs and gradients are summed over tokens, padding included, as if
  each sequence were one position: ``A = (1/N) sum_n abar_n abar_n^T``, ``G = sum_nk gbar_nk gbar_nk^T``, ``lambda = l_G
  l_A^T``. ``(sum_t g_t)(sum_t a_t)^T`` is not ``sum_t g_t a_t^T``, so the curvature is too large by a factor that grows
  with T, and the posterior too narrow. At T = 1 it is the ordinary KFAC.

Sources: Martens and Grosse (2015), arXiv 1503.05671; George et al. (2018), arXiv 1806.03884 (eigenvalue correction);
Eschenhagen et al. (2023), arXiv 2311.00636 (weight sharing); Yang et al., arXiv 2308.13111.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesgrid.errors import NumericalError, StateError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.laplace.evidence import adam_prior_precision, log_evidence, maximise_evidence
from bayesgrid.studies.bayesian_lora.laplace.jacobian import logit_covariance

__all__ = [
    "KroneckerBlock",
    "KroneckerLaplace",
    "eigenvalue_corrected_block",
    "fit_kronecker_laplace",
    "token_summed_block",
]

_PARTS = ("output_basis", "input_basis", "eigenvalues")
_SCALARS = ("precision", "squared_norm", "log_likelihood")
_VANISHING = 1e-14


@dataclass(frozen=True)
class KroneckerBlock:
    """The curvature of one weight matrix ``[o, d]``; directions outside the bases have none.

    Args:
        output_basis: U_G, ``[o, p]`` orthonormal columns.
        input_basis: U_A, ``[d, q]`` orthonormal columns.
        eigenvalues: lambda, ``[p, q]``, non-negative.
    """

    output_basis: Tensor
    input_basis: Tensor
    eigenvalues: Tensor

    def coordinates(self, matrices: Tensor) -> Tensor:
        """Return ``U_G^T M U_A``, ``[..., p, q]``, for matrices M ``[..., o, d]``."""
        return self.output_basis.T @ matrices.to(self.eigenvalues) @ self.input_basis


def eigenvalue_corrected_block(gradients: Tensor) -> KroneckerBlock:
    """Return the block whose diagonal, and so whose trace, is exact in its basis.

    Args:
        gradients: ``[N, K, o, d]``, D_nk: Jacobian rows of the matrix with the curvature factor applied.
    """
    wide = gradients.double().flatten(0, 1)
    output_basis = _eigenbasis(torch.einsum("mod,mpd->op", wide, wide))[0]
    input_basis = _eigenbasis(torch.einsum("mod,moe->de", wide, wide))[0]
    return KroneckerBlock(output_basis, input_basis, (output_basis.T @ wide @ input_basis).square().sum(0))


def token_summed_block(activations: Tensor, output_gradients: Tensor) -> KroneckerBlock:
    """Return the reference implementation's block, from token sums without a mask.

    Args:
        activations: ``[N, T, d]``, padding included.
        output_gradients: ``[N, K, T, o]``, of the curvature outputs.
    """
    inputs = activations.double().sum(1)
    gradients = output_gradients.double().sum(2).flatten(0, 1)
    input_basis, input_values = _eigenbasis(inputs.T @ inputs / len(inputs))
    output_basis, output_values = _eigenbasis(gradients.T @ gradients)
    return KroneckerBlock(output_basis, input_basis, torch.outer(output_values, input_values))


@dataclass(frozen=True)
class KroneckerLaplace:
    """A Gaussian over all adapter weights, independent between weight matrices.

    Args:
        precision: delta, of the prior ``N(0, I / delta)`` on every weight.
        blocks: curvature by weight matrix.
        squared_norm: ``|theta*|^2``.
        log_likelihood: ``log p(D | theta*)``.
    """

    precision: float
    blocks: Mapping[str, KroneckerBlock]
    squared_norm: float
    log_likelihood: float

    @property
    def log_evidence(self) -> float:
        """Return the Laplace approximation of ``log p(D | delta)``."""
        return log_evidence(_spectrum(self.blocks), self.precision, self.squared_norm, self.log_likelihood)

    def logit_covariance(self, jacobian: Iterable[tuple[str, Tensor]], classes: int) -> Tensor:
        """Return the covariance of the linearised logits of M examples, float64 ``[M, C, C]``.

        Args:
            jacobian: name and ``[M, D, o, d]`` of every weight matrix; D is C, or C - 1 for differences to the first.
            classes: C.

        Raises:
            StateError: if the matrices are not those of the fit.
        """
        seen: set[str] = set()
        total: Tensor | float = 0.0
        for name, rows in jacobian:
            block = self.blocks.get(name)
            if block is None or name in seen:
                raise StateError("the Jacobian is not of the matrices this posterior was fitted to", where=name)
            seen.add(name)
            flat = rows.double().flatten(2)
            images = block.coordinates(rows)
            # 1 / (lambda + delta) = 1 / delta - lambda / (delta (lambda + delta)): the second term lives in the bases.
            shrink = block.eigenvalues / (block.eigenvalues + self.precision)
            total = total + flat @ flat.mT - (images * shrink).flatten(2) @ images.flatten(2).mT
        if seen != set(self.blocks) or isinstance(total, float):
            raise StateError("the Jacobian lacks matrices of the posterior", given=sorted(set(self.blocks) - seen)[:3])
        return logit_covariance(total / self.precision, classes)

    def weight_offsets(self, draws: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Return draws of ``theta - theta*``, float64 ``[S, o, d]`` by weight matrix.

        Draw number s is a function of (seed, s) alone.

        Args:
            draws: numbers of the draws wanted.
            seed: of the posterior's random streams.
        """
        offsets = {}
        for name, block in self.blocks.items():
            shape = (len(block.output_basis), len(block.input_basis))
            noise = torch.stack(
                [
                    torch.from_numpy(random_stream(seed, f"laplace weights/{name}", draw).standard_normal(shape))
                    for draw in draws
                ]
            ).to(block.eigenvalues)
            change = (block.eigenvalues + self.precision).rsqrt() - self.precision**-0.5
            within = block.output_basis @ (block.coordinates(noise) * change) @ block.input_basis.T
            offsets[name] = noise * self.precision**-0.5 + within
        return offsets

    def tensors(self) -> dict[str, Tensor]:
        """Return what a safetensors file of this posterior holds."""
        scalars = {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in _SCALARS}
        parts = {
            f"{part}/{name}": getattr(block, part).contiguous()
            for name, block in self.blocks.items()
            for part in _PARTS
        }
        return {**scalars, **parts}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "KroneckerLaplace":
        """Return the posterior that :meth:`tensors` described.

        Raises:
            StateError: if a tensor is missing.
        """
        names = [name.removeprefix("eigenvalues/") for name in tensors if name.startswith("eigenvalues/")]
        needed = [*_SCALARS, *(f"{part}/{name}" for name in names for part in _PARTS)]
        missing = [name for name in needed if name not in tensors]
        if missing or not names:
            raise StateError("this is no Kronecker posterior", given=f"without {', '.join(missing) or 'eigenvalues'}")
        blocks = {name: KroneckerBlock(*(tensors[f"{part}/{name}"] for part in _PARTS)) for name in names}
        return cls(blocks=blocks, **{name: float(tensors[name]) for name in _SCALARS})


def fit_kronecker_laplace(
    blocks: Mapping[str, KroneckerBlock],
    squared_norm: float,
    log_likelihood: float,
    *,
    precision: float | None = None,
    faithful: bool = False,
) -> KroneckerLaplace:
    """Return the posterior with these blocks and the prior precision of largest evidence.

    Args:
        blocks: curvature by weight matrix.
        squared_norm: ``|theta*|^2`` over the same matrices.
        log_likelihood: ``log p(D | theta*)``.
        precision: delta; None finds it.
        faithful: find it with 100 steps of Adam at rate 0.1 from 1, instead of the exact maximum.

    Raises:
        NumericalError: if the evidence has no maximum.
    """
    spectrum = _spectrum(blocks)
    if precision is None and faithful:
        precision = adam_prior_precision(spectrum, squared_norm)
    elif precision is None:
        precision = maximise_evidence(spectrum, squared_norm, log_likelihood).precision
    return KroneckerLaplace(precision, blocks, squared_norm, log_likelihood)


def _spectrum(blocks: Mapping[str, KroneckerBlock]) -> Tensor:
    return torch.cat([block.eigenvalues.flatten() for block in blocks.values()])


def _eigenbasis(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvectors and eigenvalues of a positive semi-definite matrix, without those that are zero."""
    if not bool(torch.isfinite(matrix).all()):
        raise NumericalError("the gradients of a weight matrix are not finite")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > _VANISHING * len(matrix) * values.amax()
    return vectors[:, kept], values[kept]
