"""A trained adapter in the singular basis of its second factor, where one width means equal noise in every direction.

Training-free Bayesianisation (Shi et al., TFB, 2024, arXiv 2412.05723, section 3): B = U diag(d) Rᵀ, B' = U diag(d),
A' = RᵀA and noise of deviation σ / d_i on row i of A'. Then B'A' = BA, and the columns of the noise on the update have
covariance γ² σ² U Uᵀ: the same in every direction that B can reach.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SingularBasis", "rotate_to_singular_basis"]


@dataclass(frozen=True)
class SingularBasis:
    """Rotated factors of K adapters, padded with zeros to the rank r they had.

    Args:
        a: A', ``[K, r, d_in]``.
        b: B', ``[K, d_out, r]``, orthogonal columns of decreasing length.
        singular_values: d, ``[K, r]``; zero beyond the number of outputs.
        reached: ``[K, r]`` booleans: the directions whose singular value is above rounding error.
    """

    a: Tensor
    b: Tensor
    singular_values: Tensor
    reached: Tensor

    def noise_deviation(self, width: Tensor | float) -> Tensor:
        """Return Ω, the deviation of the noise on each row of ``a``: σ / d_i where reached, 0 elsewhere; ``[K, r, 1]``.

        A column of B' with d_i at rounding error is itself noise: its direction U_i is arbitrary, and σ / d_i would
        raise it to full strength. The posterior lives in the column space of B, to which such a direction does not
        belong, so it carries no noise. The covariance of the update stays σ² U Uᵀ over the reached directions.

        Args:
            width: σ >= 0, a number or ``[K]``.
        """
        widths = torch.as_tensor(width, dtype=self.b.dtype, device=self.b.device).reshape(-1, 1)
        safe = torch.where(self.reached, self.singular_values, torch.ones_like(self.singular_values))
        return torch.where(self.reached, widths / safe, torch.zeros_like(safe)).unsqueeze(-1)


def rotate_to_singular_basis(a: Tensor, b: Tensor) -> SingularBasis:
    """Return the factors in the singular basis of ``b``, with the same product.

    Computed in float64 and returned in the type of ``b``. A direction counts as reached if its singular value is above
    ε ‖B‖, with ε the float32 rounding unit and the Frobenius norm: rounding the entries of B moves no singular value by
    more. The sign of each direction is such that the largest entry of its column of U is positive, so that a draw is
    the same with every linear-algebra library.

    Args:
        a: A, ``[K, r, d_in]``.
        b: B, ``[K, d_out, r]``; ``d_out`` may be below r, as in an answer head, which leaves d_out directions.
    """
    left, values, right = torch.linalg.svd(b.double(), full_matrices=False)
    signs = left.gather(1, left.abs().argmax(1, keepdim=True)).sign()
    left, right = left * signs, right * signs.transpose(1, 2)
    missing = a.shape[1] - values.shape[1]
    rotated_b = torch.nn.functional.pad(left * values.unsqueeze(1), (0, missing))
    rotated_a = torch.nn.functional.pad(right @ a.double(), (0, 0, 0, missing))
    values = torch.nn.functional.pad(values, (0, missing))
    threshold = torch.finfo(torch.float32).eps * values.norm(dim=1, keepdim=True)
    return SingularBasis(rotated_a.to(a.dtype), rotated_b.to(b.dtype), values.to(b.dtype), values > threshold)
