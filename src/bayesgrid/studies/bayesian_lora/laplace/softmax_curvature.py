"""The curvature of the softmax log-likelihood in the logits, as a square root without the direction it does not see.

For probabilities p the Hessian of ``-log softmax(f)_y`` in f is ``Lambda = diag(p) - p p^T``, of rank C - 1 (less when
options are absent: their probability is 0). With ``s = sqrt(p)``, a unit vector, ``Lambda = diag(s) (I - s s^T)
diag(s)``, and the projector ``I - s s^T`` is ``Q Q^T`` for the C - 1 columns of a Householder reflection that are
orthogonal to s. So ``S = diag(s) Q`` has ``S S^T = Lambda``, in closed form and without an eigen-decomposition.
"""

import torch
from torch import Tensor

__all__ = ["curvature_factors", "present_options"]


def present_options(options: Tensor | None, examples: int, classes: int, device: torch.device | None = None) -> Tensor:
    """Return which options each example has, ``[N, C]`` booleans.

    Args:
        options: ``[N]``, how many options are present (they are the first ones); None when all are.
        examples: N.
        classes: C.
        device: where the answer is wanted when ``options`` is None.

    Raises:
        ValueError: if a count is below 1 or above C.
    """
    if options is None:
        return torch.ones(examples, classes, dtype=torch.bool, device=device)
    if len(options) != examples or bool(((options < 1) | (options > classes)).any()):
        raise ValueError(f"{examples} option counts from 1 to {classes} are needed, got {options.tolist()}")
    return torch.arange(classes, device=options.device) < options[:, None]


def curvature_factors(logits: Tensor, options: Tensor | None = None, *, differences: bool = False) -> Tensor:
    """Return S of every example, float64, with ``S S^T = diag(p) - p p^T``.

    The rows of S sum to zero over the classes, so ``S^T J = S[1:]^T (J[1:] - J[0])``: the Jacobian of the C - 1
    differences to the first logit is enough, which saves one backward pass.

    Args:
        logits: ``[N, C]``; those of absent options are ignored.
        options: ``[N]``, how many options each example has; None when all C.
        differences: return the factor for Jacobians of the differences to the first logit.

    Returns:
        ``[N, C, C - 1]``, or ``[N, C - 1, C - 1]`` for differences. Absent options have zero rows.
    """
    examples, classes = logits.shape
    present = present_options(options, examples, classes, logits.device).to(logits.device)
    roots = (logits.double().masked_fill(~present, -torch.inf).log_softmax(1) / 2).exp()
    # Reflecting along the likeliest class keeps 1 - s_j s_j / (1 + s_k) free of cancellation when p is near a corner.
    likeliest = torch.nn.functional.one_hot(roots.argmax(1), classes)
    normal = roots + likeliest
    reflection = torch.eye(classes, dtype=torch.float64, device=logits.device) - (
        normal[:, :, None] * normal[:, None, :] / (1 + roots.amax(1))[:, None, None]
    )
    others = likeliest.argsort(dim=1, stable=True)[:, :-1]
    columns = reflection.gather(2, others[:, None, :].expand(-1, classes, -1))
    factors = roots[:, :, None] * columns
    return factors[:, 1:] if differences else factors
