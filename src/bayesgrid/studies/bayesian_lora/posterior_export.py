"""What ``bayesgrid export`` does: the mean or a draw of a fitted posterior, as an adapter that stock PEFT loads."""

import logging
from collections.abc import Callable
from pathlib import Path

from bayesgrid.adapters.adapter_posterior import POINT_METHODS, AdapterPosterior
from bayesgrid.adapters.draws import DrawScope, draw_adapter
from bayesgrid.adapters.exported_adapter import require_free_folder, write_exported_adapter
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.posterior_files import POSTERIOR_FILE, read_posterior, read_provenance
from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.plan import Plan
from bayesgrid.studies.bayesian_lora.evaluate import stream_seed
from bayesgrid.studies.bayesian_lora.exported_base import named_base, prepared_base
from bayesgrid.studies.bayesian_lora.exported_run import find_run
from bayesgrid.studies.bayesian_lora.laplace_draws import draw_laplace_adapter, share_as_wide_as_prior
from bayesgrid.studies.bayesian_lora.methods.reference_noise import NOISY_METHODS
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

__all__ = ["export_posterior"]

_LOGGER = logging.getLogger(__name__)

_HEAD_NOTE = "its answers also need head.safetensors there; docs/bayesian_lora.md shows how"
_LAPLACE_NOTE = (
    "Laplace's answers are those of the linearised model; the network with drawn weights answers differently"
)
_NOISE_NOTE = "this evaluation drew fresh noise for every batch, as the reference does; no fixed draw gives its answers"


def export_posterior(
    state_root: Path,
    run_name: str,
    destination: Path,
    plan: Callable[[], Plan],
    *,
    draw: int | None = None,
    seed: int | None = None,
    stream: int | None = None,
    base: str | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write the mean or a draw of a posterior into ``destination``, and return what to tell the user, a line each.

    Named by an evaluation, a draw is the one of that number among the evaluation's own. It is logged as a warning if
    the evaluation has no such draw, or if a Laplace posterior is little narrower than its prior.

    Args:
        state_root: where runs keep their state.
        run_name: id of a fit or of an evaluation, or the end of one.
        destination: folder that is written.
        plan: makes the plan of all experiments.
        draw: number of the draw; None for the posterior mean (of an ensemble, member 0).
        seed: training seed; may be left out where the fit has one.
        stream: seed of the draws; by default the evaluation's, or the training seed.
        base: folder or hub repository of the base model; by default where it was obtained.
        overwrite: replace an earlier export.

    Raises:
        ConfigurationError: if the run, the seed, the draw or the base is unknown.
        StateError: if the posterior is damaged or not there yet, or the destination is not free.
        DataError: if no base is named and the posterior's is not prepared here.
    """
    found = find_run(state_root, run_name, plan)
    seed, folder = found.posterior(seed)
    if destination.resolve().is_relative_to(found.state.resolve()):
        raise StateError(
            "an adapter cannot be exported into the fit's own folder",
            where=str(destination),
            remedy="name a folder outside the state root",
        )
    require_free_folder(destination, overwrite=overwrite)
    posterior, provenance = read_posterior(folder), read_provenance(folder)
    reference = prepared_base(state_root / "models", provenance) if base is None else named_base(base, provenance)
    evaluation = found.evaluation
    if stream is None:
        stream = seed if evaluation is None else stream_seed(evaluation, seed)
    scope: DrawScope = "all" if evaluation is None else evaluation.evaluation.scope
    antithetic = evaluation is not None and evaluation.evaluation.antithetic
    for warning in _warnings(posterior, draw, evaluation):
        _LOGGER.warning(warning)
    weights = _chosen(posterior, draw, stream, scope, antithetic=antithetic)
    write_exported_adapter(
        destination,
        weights,
        provenance,
        base=reference,
        origin={
            "method": posterior.method,
            "fit": found.fit,
            "seed": seed,
            "draw": draw,
            "stream": None if draw is None else stream,
            "scope": scope,
            "antithetic": antithetic,
            "base_model": provenance.base_model,
            "base_revision": provenance.base_revision,
            "labels": list(provenance.labels),
            "posterior_sha256": sha256_of_file(folder / POSTERIOR_FILE),
        },
        overwrite=overwrite,
    )
    named = reference.name if reference.revision is None else f"{reference.name}@{reference.revision}"
    return [
        f"{_described(posterior, draw)} of {found.fit}, seed {seed}, in {destination}",
        f"base model: {named}",
        *_notes(posterior, draw, evaluation),
    ]


def _chosen(
    posterior: AdapterPosterior, draw: int | None, stream: int, scope: DrawScope, *, antithetic: bool
) -> AdapterWeights:
    count = 1 if posterior.method in POINT_METHODS else len(posterior.members) or None
    if draw is not None and count is not None and draw >= count:
        point = posterior.method in POINT_METHODS
        raise ConfigurationError(
            f"{posterior.method} is a point, which has one draw" if point else f"the ensemble has {count} members",
            where="--draw",
            given=draw,
            allowed="0" if count == 1 else f"0 to {count - 1}",
            remedy="leave --draw out" if point else None,
        )
    if draw is None or posterior.method in POINT_METHODS:
        return posterior.mean
    if posterior.method == "laplace":
        return draw_laplace_adapter(posterior, draw, seed=stream)
    return draw_adapter(posterior, draw, seed=stream, scope=scope, antithetic=antithetic)


def _described(posterior: AdapterPosterior, draw: int | None) -> str:
    if posterior.method in POINT_METHODS:
        return f"the adapter ({posterior.method} is a point)"
    if posterior.method == "ensemble":
        return "member 0 (an ensemble has no mean; --draw names a member)" if draw is None else f"member {draw}"
    return "the posterior mean (--draw names a draw)" if draw is None else f"draw {draw}"


def _warnings(posterior: AdapterPosterior, draw: int | None, evaluation: BayesianLoraSpec | None) -> list[str]:
    if draw is None or posterior.method in (*POINT_METHODS, "ensemble"):
        return []
    if posterior.method == "laplace":
        wide = share_as_wide_as_prior(posterior)
        if wide <= 0.5:
            return []
        return [
            "drawn weights are as wide as the prior in most directions (deviation above half the prior's in "
            f"{wide:.1%} of them); the linearised answers are the ones to use"
        ]
    count = draw + 1 if evaluation is None else evaluation.evaluation.draws
    if draw < count:
        return []
    own = f"has only {count} draws, 0 to {count - 1}" if count > 1 else ("has only draw 0" if count else "has no draws")
    return [f"the evaluation itself {own}; draw {draw} is one of its fit, and in none of its answers"]


def _notes(posterior: AdapterPosterior, draw: int | None, evaluation: BayesianLoraSpec | None) -> list[str]:
    notes = [_HEAD_NOTE] if ANSWER_HEAD in posterior.mean.pairs else []
    if draw is not None and posterior.method == "laplace":
        notes.append(_LAPLACE_NOTE)
    if draw is not None and evaluation is not None:
        noisy = evaluation.mode == "faithful" and posterior.method in NOISY_METHODS
        notes += [_NOISE_NOTE] if noisy else []
    return notes
