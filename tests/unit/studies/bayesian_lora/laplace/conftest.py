"""A small classifier with two adapted layers, its Jacobian by automatic differentiation and its dense posterior."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair


@dataclass
class ToyClassifier:
    """Everything in float64; the weights of a module are ``[a, b]``, flattened row by row."""

    classes: int
    inputs: Tensor  # [N + M, d]
    trained: int  # N, the first rows
    options: Tensor  # [N + M]
    answers: Tensor  # [N + M]
    weights: dict[str, Tensor]  # [P_m]
    function: Callable[[dict[str, Tensor], Tensor], Tensor]
    adapter: AdapterWeights

    @property
    def logits(self) -> Tensor:
        return torch.stack([self.function(self.weights, row) for row in self.inputs])

    @property
    def jacobian(self) -> dict[str, Tensor]:
        rows = [torch.func.jacrev(self.function)(self.weights, row) for row in self.inputs]
        return {name: torch.stack([row[name] for row in rows]) for name in self.weights}

    @property
    def squared_norm(self) -> float:
        return self.adapter.squared_norm()

    def masked_probabilities(self) -> Tensor:
        result = torch.zeros_like(self.logits)
        for row, (logits, count) in enumerate(zip(self.logits, self.options.tolist(), strict=True)):
            result[row, :count] = logits[:count].softmax(0)
        return result

    def dense_curvature(self) -> Tensor:
        """Return sum_n J_n^T (diag(p) - p p^T) J_n over the training rows, from the definition."""
        stacked = torch.cat(list(self.jacobian.values()), 2)
        total = torch.zeros(stacked.shape[2], stacked.shape[2], dtype=torch.float64)
        for jacobian, p in zip(stacked[: self.trained], self.masked_probabilities()[: self.trained], strict=True):
            total += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
        return total

    def dense_log_likelihood(self) -> float:
        chosen = self.masked_probabilities()[torch.arange(self.trained), self.answers[: self.trained]]
        return float(chosen.log().sum())


def _toy(classes: int, seed: int = 0, trained: int = 14, tested: int = 5, *, masked: bool = True) -> ToyClassifier:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inside, hidden, rank = 5, 4, 2
    first, head = normal(hidden, inside), normal(classes, hidden)
    pairs = {
        "layers.0": LowRankPair(normal(rank, inside) / 2, normal(hidden, rank) / 2),
        "answer_head": LowRankPair(normal(rank, hidden) / 2, normal(classes, rank) / 2),
    }

    def function(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        def low_rank(name: str, values: Tensor) -> Tensor:
            pair = pairs[name]
            a = weights[name][: pair.a.numel()].view(pair.a.shape)
            b = weights[name][pair.a.numel() :].view(pair.b.shape)
            return 2.0 * (b @ (a @ values))

        code = torch.tanh(first @ row + low_rank("layers.0", row))
        return head @ code + low_rank("answer_head", code)

    count = trained + tested
    options = torch.full((count,), classes)
    if masked:
        options = torch.randint(1, classes + 1, (count,), generator=generator)
        options[:3] = classes
    answers = (torch.rand(count, generator=generator) * options).long()
    weights = {name: torch.cat([pair.a.flatten(), pair.b.flatten()]) for name, pair in pairs.items()}
    adapter = AdapterWeights(pairs, 2.0)
    return ToyClassifier(classes, normal(count, inside), trained, options, answers, weights, function, adapter)


@pytest.fixture
def toy() -> Callable[..., ToyClassifier]:
    return _toy
