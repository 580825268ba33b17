"""Products of Jacobian rows, taken module by module so that no second copy of the rows ever exists.

A Jacobian comes as blocks, one per module: name and ``[N, D, P_m]``, the derivatives of D outputs of each of N examples
in the module's ``P_m`` weights. The D outputs are the C logits, or the C - 1 differences to the first logit.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["column_slices", "diagonal_logit_covariance", "logit_covariance", "row_kernel"]

_COLUMNS = 8192
"""Weights whose derivatives are converted to the wider type at a time: bounds the extra memory to rows x this."""


def column_slices(width: int) -> Iterator[slice]:
    """Yield slices that cover ``width`` columns, each narrow enough to be converted to a wider type."""
    for start in range(0, width, _COLUMNS):
        yield slice(start, min(start + _COLUMNS, width))


def row_kernel(blocks: Iterable[tuple[str, Tensor]], *, product_type: torch.dtype = torch.float64) -> Tensor:
    """Return ``J J^T`` over all rows, float64 ``[N D, N D]``, reading each block once.

    Args:
        blocks: name and ``[N, D, P_m]`` of each module.
        product_type: type in which slices of columns are multiplied; their sum is float64 in any case. Single precision
            is much faster on most accelerators and good to about 1e-6 relative to the largest entry.

    Raises:
        ValueError: if there is no block, or the blocks have different rows.
    """
    kernel: Tensor | None = None
    for name, block in blocks:
        rows = block.flatten(0, 1)
        if kernel is None:
            kernel = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=block.device)
        if len(rows) != len(kernel):
            raise ValueError(f"{name}: {len(rows)} Jacobian rows, the modules before have {len(kernel)}")
        for columns in column_slices(rows.shape[1]):
            wide = rows[:, columns].to(product_type)
            kernel += wide @ wide.T
    if kernel is None:
        raise ValueError("a Jacobian without modules has no kernel")
    return kernel


def logit_covariance(covariance: Tensor, classes: int) -> Tensor:
    """Return a covariance of logits, ``[M, C, C]``, from one of logits or of their differences to the first.

    The result is symmetric and positive semi-definite: what a posterior subtracts from the prior covariance can leave
    eigenvalues below 0 by rounding, which are set to 0.

    Differences give the first logit no variance; probabilities are the same, since a common shift does not change them.

    Args:
        covariance: ``[M, D, D]`` with D = C or C - 1.
        classes: C.

    Raises:
        ValueError: if D is neither.
    """
    outputs = covariance.shape[-1]
    if outputs not in (classes, classes - 1):
        raise ValueError(f"Jacobian rows of {outputs} outputs fit neither {classes} logits nor their differences")
    symmetric = (covariance + covariance.mT) / 2
    values, vectors = torch.linalg.eigh(symmetric)
    negative = (vectors * values.clamp(max=0)[:, None, :]) @ vectors.mT
    missing = classes - outputs
    return torch.nn.functional.pad(symmetric - negative, (missing, 0, missing, 0))


def diagonal_logit_covariance(
    blocks: Iterable[tuple[str, Tensor]], variances: Mapping[str, Tensor], classes: int
) -> Tensor:
    """Return the covariance of linearised logits under independent weights, ``J diag(variance) J^T``, ``[M, C, C]``.

    This is the delta method: a posterior with a diagonal covariance (ScalaBL's singular values, for example) is
    predicted from one pass forward and C - 1 backward instead of one forward pass per draw.

    Args:
        blocks: name and ``[M, D, P_m]`` of each module.
        variances: ``[P_m]`` by module.
        classes: C.
    """
    total: Tensor | float = 0.0
    for name, block in blocks:
        for columns in column_slices(block.shape[2]):
            wide = block[:, :, columns].double()
            total = total + (wide * variances[name][columns].to(wide)) @ wide.mT
    if isinstance(total, float):
        raise ValueError("a Jacobian without modules predicts nothing")
    return logit_covariance(total, classes)
