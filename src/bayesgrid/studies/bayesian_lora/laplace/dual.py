"""Laplace's posterior with the exact Gauss-Newton curvature, computed in the space of the training outputs.

With Jacobian J_n and curvature factor S_n of each training example (``softmax_curvature``), the precision of the
weights is ``delta I + G^T G`` where ``G = [S_n^T J_n]`` has R = N (C - 1) rows. The eigen-decomposition ``G G^T = U
diag(kappa) U^T`` needs only the kernel of the rows, and with the rotated rows ``V = U^T G`` (orthogonal, of squared
lengths kappa):

    covariance of the weights   (1 / delta) (I - V^T diag(1 / (kappa + delta)) V)
    covariance of test logits   (1 / delta) (J_* J_*^T - (J_* V^T) diag(1 / (kappa + delta)) (J_* V^T)^T)
    a draw of the weights       theta* + delta^-1/2 (e - V^T diag(w) V e),  e ~ N(0, I),
                                w = 1 / ((kappa + delta) (1 + sqrt(delta / (kappa + delta))))

None of them divides by kappa, so directions of vanishing curvature do no harm. V replaces the training Jacobian: it is
all that is kept, and rows with ``kappa`` far below delta may be dropped, which loses at most the share ``kappa / (kappa
+ delta)`` of a variance.

The mean is taken to be the mode. See ``evidence`` for what that asks of the adapter.

Source: the dual form is the Woodbury identity; Immer, Korzepa, Bauer (2021), Improving predictions of Bayesian neural
nets via local linearization, arXiv 2008.08400; Yang et al., arXiv 2308.13111, for low-rank adapters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesgrid.errors import NumericalError, StateError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.laplace.evidence import (
    effective_parameters,
    log_determinant_ratio,
    log_evidence,
    maximise_evidence,
)
from bayesgrid.studies.bayesian_lora.laplace.jacobian import column_slices, logit_covariance, row_kernel
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors, present_options

__all__ = ["DualLaplace", "fit_dual_laplace", "training_log_likelihood"]

_PREFIX = "rows/"
_SCALARS = ("precision", "squared_norm", "log_likelihood")


@dataclass(frozen=True)
class DualLaplace:
    """A Gaussian over all adapter weights around the trained adapter.

    Args:
        precision: delta, of the prior ``N(0, I / delta)`` on every weight.
        eigenvalues: all kappa, ``[R]`` float64, falling.
        rows: V, ``[k, P_m]`` by module: the rows of the k largest eigenvalues, in the type of the Jacobian.
        squared_norm: ``|theta*|^2``.
        log_likelihood: ``log p(D | theta*)``.
    """

    precision: float
    eigenvalues: Tensor
    rows: Mapping[str, Tensor]
    squared_norm: float
    log_likelihood: float

    @property
    def effective_parameters(self) -> float:
        """Return how many directions the data determine."""
        return effective_parameters(self.eigenvalues, self.precision)

    @property
    def log_determinant_ratio(self) -> float:
        """Return ``logdet P - logdet P_0`` of posterior and prior precision."""
        return log_determinant_ratio(self.eigenvalues, self.precision)

    @property
    def log_evidence(self) -> float:
        """Return the Laplace approximation of ``log p(D | delta)``."""
        return log_evidence(self.eigenvalues, self.precision, self.squared_norm, self.log_likelihood)

    def logit_covariance(self, blocks: Iterable[tuple[str, Tensor]], classes: int) -> Tensor:
        """Return the covariance of the linearised logits of M examples, float64 ``[M, C, C]``.

        Args:
            blocks: name and Jacobian ``[M, D, P_m]`` of every module, in any order; read once. D is C, or C - 1 for
                differences to the first logit, whose variance is then 0.
            classes: C.

        Raises:
            StateError: if the modules or their sizes are not those of the fit.
        """
        seen: set[str] = set()
        prior: Tensor | float = 0.0
        images: Tensor | float = 0.0
        for name, block in blocks:
            rows = self.rows.get(name)
            if rows is None or name in seen or rows.shape[1] != block.shape[2]:
                raise StateError(
                    "the Jacobian is not of the modules this posterior was fitted to",
                    where=name,
                    given=list(block.shape),
                    allowed=None if rows is None else f"{rows.shape[1]} weights, once",
                )
            seen.add(name)
            for columns in column_slices(block.shape[2]):
                wide = block[:, :, columns].double()
                prior = prior + wide @ wide.mT
                images = images + wide @ rows[:, columns].to(wide).T
        if seen != set(self.rows) or isinstance(prior, float) or isinstance(images, float):
            raise StateError("the Jacobian lacks modules of the posterior", given=sorted(set(self.rows) - seen)[:3])
        kept = self.eigenvalues[: images.shape[-1]].to(images.device)
        covariance = (prior - (images / (kept + self.precision)) @ images.mT) / self.precision
        return logit_covariance(covariance, classes)

    def weight_offsets(self, draws: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Return draws of ``theta - theta*``, ``[S, P_m]`` by module in the type of the rows.

        Draw number s is a function of (seed, s) alone.

        Args:
            draws: numbers of the draws wanted.
            seed: of the posterior's random streams.
        """
        noise = {name: _noise(name, draws, seed, rows) for name, rows in self.rows.items()}
        first = next(iter(self.rows.values()))
        images = torch.zeros(len(draws), len(first), dtype=torch.float64, device=first.device)
        for name, rows in self.rows.items():
            for columns in column_slices(rows.shape[1]):
                images += noise[name][:, columns] @ rows[:, columns].double().T
        kept = self.eigenvalues[: len(first)].to(first.device)
        total = kept + self.precision
        weighted = images / (total * (1 + (self.precision / total).sqrt()))
        for name, rows in self.rows.items():
            for columns in column_slices(rows.shape[1]):
                noise[name][:, columns] -= weighted @ rows[:, columns].double()
        return {name: (values / self.precision**0.5).to(self.rows[name].dtype) for name, values in noise.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return what a safetensors file of this posterior holds."""
        scalars = {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in _SCALARS}
        rows = {f"{_PREFIX}{name}": rows.contiguous() for name, rows in self.rows.items()}
        return {**scalars, "eigenvalues": self.eigenvalues, **rows}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "DualLaplace":
        """Return the posterior that :meth:`tensors` described.

        Raises:
            StateError: if a tensor is missing.
        """
        missing = [name for name in (*_SCALARS, "eigenvalues") if name not in tensors]
        rows = {name.removeprefix(_PREFIX): rows for name, rows in tensors.items() if name.startswith(_PREFIX)}
        if missing or not rows:
            raise StateError("this is no dual Laplace posterior", given=f"without {', '.join(missing) or 'rows'}")
        return cls(eigenvalues=tensors["eigenvalues"], rows=rows, **{name: float(tensors[name]) for name in _SCALARS})


def training_log_likelihood(logits: Tensor, answers: Tensor, options: Tensor | None = None) -> float:
    """Return ``sum_n log softmax(f_n)[y_n]`` over the options present, for ``logits [N, C]`` and ``answers [N]``."""
    present = present_options(options, len(logits), logits.shape[1], logits.device).to(logits.device)
    log_probabilities = logits.double().masked_fill(~present, -torch.inf).log_softmax(1)
    return float(log_probabilities.gather(1, answers[:, None].to(logits.device)).sum())


def fit_dual_laplace(
    jacobian: Mapping[str, Tensor],
    logits: Tensor,
    answers: Tensor,
    squared_norm: float,
    *,
    options: Tensor | None = None,
    precision: float | None = None,
    negligible: float = 1e-10,
    overwrite: bool = False,
    product_type: torch.dtype = torch.float64,
) -> DualLaplace:
    """Fit the posterior to the Jacobian at the trained adapter.

    Memory beside the Jacobian: three float64 matrices of its number of rows squared while fitting, and, unless
    ``overwrite``, the rows kept (at most as large as the Jacobian).

    Args:
        jacobian: ``[N, D, P_m]`` by module; D is C, or C - 1 for differences to the first logit.
        logits: ``[N, C]`` at the trained adapter.
        answers: ``[N]``, labels.
        squared_norm: ``|theta*|^2`` over the same weights.
        options: ``[N]``, how many options each example has; None when all C.
        precision: delta; None takes the maximum of the evidence.
        negligible: rows whose ``kappa / delta`` is at most this are dropped; 0 keeps all with positive kappa.
        overwrite: put the rows kept into the memory of ``jacobian``, which is lost.
        product_type: see :func:`~bayesgrid.studies.bayesian_lora.laplace.jacobian.row_kernel`.

    Raises:
        NumericalError: if the Jacobian is not finite, or no precision is given and the evidence has no maximum.
    """
    examples, classes = logits.shape
    outputs = next(iter(jacobian.values())).shape[1]
    if outputs not in (classes, classes - 1):
        raise ValueError(f"Jacobian rows of {outputs} outputs fit neither {classes} logits nor their differences")
    kernel = row_kernel(jacobian.items(), product_type=product_type)
    if not bool(torch.isfinite(kernel).all()):
        raise NumericalError("the Jacobian has entries that are not finite")
    factors = curvature_factors(logits.to(kernel.device), options, differences=outputs == classes - 1)
    half = torch.einsum("ndk,ndm->nkm", factors, kernel.view(examples, outputs, -1)).flatten(0, 1)
    scaled = torch.einsum("rnd,ndk->rnk", half.view(-1, examples, outputs), factors).flatten(1)
    ascending, vectors = torch.linalg.eigh((scaled + scaled.T) / 2)
    eigenvalues = ascending.flip(0).clamp(min=0)
    log_likelihood = training_log_likelihood(logits, answers, options)
    if precision is None:
        precision = maximise_evidence(eigenvalues, squared_norm, log_likelihood).precision
    kept = int((eigenvalues > negligible * precision).sum())
    turned = vectors.flip(1)[:, :kept].T.reshape(kept, examples, -1)
    rotation = torch.einsum("rnk,ndk->rnd", turned, factors).flatten(1)
    rows = {name: _rotated(rotation, block, overwrite=overwrite) for name, block in jacobian.items()}
    return DualLaplace(precision, eigenvalues, rows, squared_norm, log_likelihood)


def _rotated(rotation: Tensor, block: Tensor, *, overwrite: bool) -> Tensor:
    """Return ``rotation [k, N D]`` times ``block [N, D, P_m]``; with ``overwrite`` in the first k rows of the block."""
    rows = block.view(-1, block.shape[2]) if overwrite else block.flatten(0, 1)
    target = rows[: len(rotation)] if overwrite else rows.new_empty(len(rotation), rows.shape[1])
    for columns in column_slices(rows.shape[1]):
        target[:, columns] = (rotation @ rows[:, columns].double()).to(rows.dtype)
    return target


def _noise(name: str, draws: Sequence[int], seed: int, rows: Tensor) -> Tensor:
    values = [
        torch.from_numpy(random_stream(seed, f"laplace weights/{name}", draw).standard_normal(rows.shape[1]))
        for draw in draws
    ]
    return torch.stack(values).to(rows.device)
