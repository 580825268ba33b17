"""Answers under a Laplace posterior: Gaussian logits of the linearised model, as quasi-random draws of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, for_labels
from bayesgrid.studies.bayesian_lora.answer_jacobian import jacobian_blocks
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import Scope
from bayesgrid.studies.bayesian_lora.laplace.adapter_offsets import factor_matrices
from bayesgrid.studies.bayesian_lora.laplace.dual import DualLaplace
from bayesgrid.studies.bayesian_lora.laplace.gaussian_logits import gaussian_logit_draws
from bayesgrid.studies.bayesian_lora.laplace.kronecker import KroneckerLaplace

__all__ = ["predict_laplace"]

_QUESTIONS_TOGETHER = 128


def predict_laplace(
    adapted: AdaptedModel,
    task: AnswerTask,
    posterior: AdapterPosterior,
    *,
    trained: tuple[str, ...],
    asked: tuple[str, ...],
    scope: Scope,
    draws: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return draws of the logits of the linearised model, ``[S, N, C]`` for the C labels of the model's head.

    Only the logits of the task's own labels are drawn; the others stay at their mean. In the head's adapter, a label
    that training did not have gets a row of mean 0 with the variance of the prior.

    Args:
        adapted: its stack is resized.
        task: prepared for the model; its labels are among ``asked``.
        posterior: of method ``laplace``, of either structure.
        trained: the labels of the fit.
        asked: the labels of the model's head.
        scope: the layers the posterior covers.
        draws: S.
        seed: of the quasi-random points.
        progress: called with questions done and questions in all.

    Raises:
        StateError: if the posterior is of other layers.
    """
    covariance_of = _kronecker if posterior.settings.get("structure") == "kronecker" else _dual
    covariance = covariance_of(posterior, trained, asked)
    weights = for_labels(posterior.mean, trained, asked)
    columns = [asked.index(label) for label in task.labels]
    logits = np.empty((draws, len(task), len(asked)), dtype=np.float32)
    done = 0
    for rows, means, jacobian in jacobian_blocks(adapted, task, weights, scope, questions=_QUESTIONS_TOGETHER):
        logits[:, rows] = means.float().numpy()
        spread = covariance(jacobian)[:, columns][:, :, columns]
        options = torch.from_numpy(task.options[rows])
        drawn = gaussian_logit_draws(means[:, columns], spread, draws, seed, options=options)
        logits[:, rows[:, None], np.array(columns)] = drawn.float().numpy()
        done += len(rows)
        if progress is not None:
            progress(done, len(task))
    return logits


_Covariance = Callable[[Mapping[str, Tensor]], Tensor]


def _dual(posterior: AdapterPosterior, trained: Sequence[str], asked: Sequence[str]) -> _Covariance:
    fitted = DualLaplace.from_tensors(posterior.tensors)
    rows = dict(fitted.rows)
    if ANSWER_HEAD in rows and tuple(trained) != tuple(asked):
        a, b = factor_matrices(rows[ANSWER_HEAD], posterior.mean.pairs[ANSWER_HEAD])
        rows[ANSWER_HEAD] = torch.cat([a.flatten(1), _rows_for(b, trained, asked).flatten(1)], dim=1)
    extended = DualLaplace(fitted.precision, fitted.eigenvalues, rows, fitted.squared_norm, fitted.log_likelihood)
    return lambda jacobian: extended.logit_covariance(jacobian.items(), len(asked))


def _kronecker(posterior: AdapterPosterior, trained: Sequence[str], asked: Sequence[str]) -> _Covariance:
    fitted = KroneckerLaplace.from_tensors(posterior.tensors)
    blocks = dict(fitted.blocks)
    head = f"{ANSWER_HEAD}.b"
    if head in blocks and tuple(trained) != tuple(asked):
        basis = _rows_for(blocks[head].output_basis[None], trained, asked)[0]
        blocks[head] = type(blocks[head])(basis, blocks[head].input_basis, blocks[head].eigenvalues)
    extended = KroneckerLaplace(fitted.precision, blocks, fitted.squared_norm, fitted.log_likelihood)
    weights = for_labels(posterior.mean, tuple(trained), tuple(asked))
    return lambda jacobian: extended.logit_covariance(_matrices(jacobian, weights), len(asked))


def _matrices(jacobian: Mapping[str, Tensor], weights: AdapterWeights) -> Iterator[tuple[str, Tensor]]:
    for name, block in jacobian.items():
        a, b = factor_matrices(block, weights.pairs[name])
        yield f"{name}.a", a
        yield f"{name}.b", b


def _rows_for(values: Tensor, trained: Sequence[str], asked: Sequence[str]) -> Tensor:
    """Return ``values [k, labels, ...]`` in the order of ``asked``, zero for labels that training did not have."""
    found = values.new_zeros(values.shape[0], len(asked), *values.shape[2:])
    for place, label in enumerate(asked):
        if label in trained:
            found[:, place] = values[:, trained.index(label)]
    return found
