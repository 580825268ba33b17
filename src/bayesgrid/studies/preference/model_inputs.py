"""The numbers that models read of responses and prompts, from a base model's features or from the set itself."""

import numpy as np
import torch
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.errors import DataError
from bayesgrid.studies.preference.spec import InputSpec
from bayesgrid.studies.preference.training import PreferenceFeatures

__all__ = ["joined_features", "preference_features"]


def preference_features(
    data: PreferencePairs,
    spec: InputSpec,
    states: tuple[NDArray[np.floating], NDArray[np.floating]] | None,
    *,
    gated: bool,
) -> PreferenceFeatures:
    """Return standardised features of all responses, and of the prompts where a gate reads them.

    Location, scale and components are those of all responses of the set; labels have no part in them.

    Args:
        data: the pairs.
        spec: which numbers are taken.
        states: of a base model, ``[R, h]`` of the responses and ``[P, h]`` of the prompts; None takes the set's own.
        gated: whether prompts are read.

    Raises:
        DataError: if there are neither states nor numbers of the set's own, or a gate has no prompts to read.
    """
    if states is None:
        if data.item_features is None:
            raise DataError(
                "the responses have no numbers of their own",
                where=f"data set {data.name!r}",
                remedy="name the base model that reads them under inputs.model",
            )
        if gated:
            raise DataError("a gate needs prompts that a base model has read", where=f"data set {data.name!r}")
        return PreferenceFeatures(_standardised(data.item_features, None), None)
    responses, prompts = (values.astype(np.float64) for values in states)
    columns = joined_features(data, spec, responses, prompts)
    gate = _standardised(prompts, None) if gated else None
    return PreferenceFeatures(_standardised(columns, spec.components), gate)


def joined_features(
    data: PreferencePairs, spec: InputSpec, responses: NDArray[np.float64], prompts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the response's states, their products with those of its prompt, and its log-length, ``[R, f]``."""
    parts = [responses]
    if spec.product:
        parts.append(responses * prompts[[response.prompt for response in data.responses]])
    if spec.length:
        parts.append(np.log1p([[len(response.text)] for response in data.responses]))
    return np.concatenate(parts, axis=1)


def _standardised(columns: NDArray[np.floating], components: int | None) -> torch.Tensor:
    values = columns.astype(np.float64)
    centred = values - values.mean(axis=0)
    scaled = centred / np.maximum(centred.std(axis=0), 1e-8)
    if components is not None and components < scaled.shape[1]:
        covariance = scaled.T @ scaled / len(scaled)
        vectors = np.linalg.eigh(covariance)[1][:, ::-1][:, :components]
        # The sign of an eigenvector is arbitrary; its largest entry is made positive, so that machines agree.
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(components)])
        scaled = scaled @ vectors
        scaled /= np.maximum(scaled.std(axis=0), 1e-8)
    return torch.from_numpy(scaled.astype(np.float32))
