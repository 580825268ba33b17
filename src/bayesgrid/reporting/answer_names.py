"""Printed names of methods and metrics in tables and figures about answers, and which way a metric is better."""

from collections.abc import Sequence

from bayesgrid.errors import ConfigurationError, did_you_mean

__all__ = [
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "answer_metric_label",
    "checked_answer_metrics",
    "evaluation_heading",
    "method_label",
    "row_label",
    "setting_text",
]

MEAN_SUFFIX = "_mean"
"""Ends the name of a method that predicts with the mean of its posterior and draws nothing."""

_METHODS = {
    "mle": "MLE",
    "map": "MAP",
    "mcdropout": "MC dropout",
    "ensemble": "Ensemble",
    "laplace": "Laplace",
    "laplace_kronecker": "Laplace (Kronecker)",
    "blob": "BLoB",
    "scalabl": "ScalaBL",
    "tfb": "TFB",
    "ivon": "IVON",
    "zeroshot": "Zero-shot",
}
_METRICS = {
    "accuracy": "Accuracy",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
    "ece_debiased": "Debiased ECE",
    "ece_adaptive": "Adaptive ECE",
    "aurc": "AURC",
    "error_auroc": "Error AUROC",
    "entropy": "Entropy",
    "mutual_information": "Mutual information",
    "aleatoric": "Aleatoric entropy",
    "confidence": "Confidence",
    "coverage_90": "Coverage of 90 % sets",
    "set_size_90": "Size of 90 % sets",
    "inverse_temperature": "Inverse temperature",
    "majority_accuracy": "Majority accuracy",
    "seconds_per_example": "Seconds per question",
    "seconds_per_example_p50": "Seconds per question, median",
    "seconds_per_example_p95": "Seconds per question, 95 %",
    "tokens_per_second": "Tokens per second",
    "warm_up_batches": "Warm-up batches",
    "peak_memory_mb": "Peak memory (MB)",
    "prediction_memory_mb": "Memory of answering (MB)",
    "trained_parameters": "Trained parameters",
    "posterior_bytes": "Posterior (bytes)",
    "labels_used": "Labels used",
    "ood_auroc_entropy": "AUROC, entropy",
    "ood_auroc_mutual_information": "AUROC, mutual information",
    "ood_auroc_confidence": "AUROC, confidence",
    "ood_aupr_entropy": "AUPR, entropy",
    "ood_fpr95_entropy": "FPR95, entropy",
}
_ABBREVIATIONS = {"kl": "KL", "nll": "NLL", "lr": "learning rate"}
HIGHER_IS_BETTER = frozenset({"accuracy", "error_auroc"})
LOWER_IS_BETTER = frozenset({"nll", "brier", "ece", "ece_debiased", "ece_adaptive", "aurc"})


def method_label(name: str) -> str:
    """Return the printed name of a method; an unknown one keeps its name with spaces."""
    if name in _METHODS:
        return _METHODS[name]
    if name.endswith(MEAN_SUFFIX):
        return f"{method_label(name.removesuffix(MEAN_SUFFIX))} (mean)"
    return name.replace("_", " ")


def row_label(method: str, variant: str, temperature: bool) -> str:
    """Return the printed name of a row: the method, what tells its runs apart, and whether logits were scaled."""
    name = ", ".join(part for part in (method_label(method), variant) if part)
    return f"{name} + temperature" if temperature else name


def setting_text(name: str, value: object) -> str:
    """Return a hyperparameter and its value as printed, such as ``KL direction reverse`` for ``kl_direction``."""
    words = [_ABBREVIATIONS.get(word, word) for word in name.split("_")]
    if isinstance(value, list | tuple):
        shown = "+".join(map(str, value)) or "none"
    else:
        shown = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return f"{' '.join(words)} {shown.replace('_', ' ')}"


def answer_metric_label(name: str) -> str:
    """Return the printed name of a metric.

    Raises:
        ConfigurationError: if reports know no such metric.
    """
    if name not in _METRICS:
        raise ConfigurationError(
            "unknown metric", given=name, allowed=", ".join(_METRICS), remedy=did_you_mean(name, _METRICS)
        )
    return _METRICS[name]


def checked_answer_metrics(names: object, *, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the option ``metrics`` of a table as a tuple.

    Raises:
        ConfigurationError: if it is no list of names, or empty, or holds a name that is not ``allowed``.
    """
    if not isinstance(names, list | tuple) or not names:
        raise ConfigurationError("the option metrics is a list of names", given=names, allowed=", ".join(allowed))
    for name in names:
        if name not in allowed:
            raise ConfigurationError(
                "the table has no such metric",
                given=name,
                allowed=", ".join(allowed),
                remedy=did_you_mean(str(name), allowed),
            )
    return tuple(names)


def evaluation_heading(model: str, dataset: str, evaluation: str) -> str:
    """Return the heading over methods that are compared, from printed names.

    Args:
        model: base model.
        dataset: what it was fitted to.
        evaluation: what it answers; empty if that is the test split of the same data set.
    """
    return f"{model} · {dataset}, answering {evaluation}" if evaluation else f"{model} · {dataset}"
