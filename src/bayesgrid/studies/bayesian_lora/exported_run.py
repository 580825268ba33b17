"""Which fit an id means: a fit itself, or the one that an evaluation answers with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bayesgrid.errors import ConfigurationError, StateError, did_you_mean
from bayesgrid.grid.plan import Plan
from bayesgrid.grid.registry import study_specification
from bayesgrid.grid.specification import RunSpec
from bayesgrid.studies.bayesian_lora.fit import posterior_folder
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

__all__ = ["ExportedRun", "find_run"]

_ALLOWED = "the id of a finished fit or of an evaluation of one, or its end"


@dataclass(frozen=True)
class ExportedRun:
    """A fit with posteriors on disk.

    Args:
        fit: its id.
        state: its state folder.
        evaluation: the evaluation that was named instead of the fit, if one was.
    """

    fit: str
    state: Path
    evaluation: BayesianLoraSpec | None = None

    def posterior(self, seed: int | None) -> tuple[int, Path]:
        """Return the training seed, the only one where it is None, and the folder of its posterior.

        Raises:
            ConfigurationError: if the fit has no such seed, or none is named and it has several.
        """
        seeds = sorted(int(folder.name.removeprefix("seed-")) for folder in self.state.glob("posterior/seed-*"))
        chosen = seeds[0] if seed is None and len(seeds) == 1 else seed
        if chosen is None or chosen not in seeds:
            raise ConfigurationError(
                "the fit has several seeds" if seed is None else "the fit has no such seed",
                where=self.fit,
                given=seed,
                allowed=", ".join(map(str, seeds)),
                remedy="name one with --seed",
            )
        return chosen, posterior_folder(self.state, chosen)


def find_run(state_root: Path, name: str, plan: Callable[[], Plan]) -> ExportedRun:
    """Return the fit that ``name`` means.

    Args:
        state_root: where runs keep their state.
        name: id of a fit or of an evaluation, or the end of one.
        plan: makes the plan of all experiments; asked only for an id that the state root does not know.

    Raises:
        ConfigurationError: if no run or several have this id, or the run has no fit of an adapter.
        StateError: if the fit is not there yet.
    """
    fits = {folder.parent.name for folder in state_root.glob("*/posterior") if folder.is_dir()}
    evaluations = {path.parents[1].name: path for path in state_root.glob("*/finished/manifest.json")}
    known = sorted({*fits, *evaluations})
    fitting = [name] if name in known else [run for run in known if run.endswith(name)]
    if len(fitting) > 1:
        raise ConfigurationError(
            f"{len(fitting)} runs end with this id", where=str(state_root), given=name, allowed=", ".join(fitting[:4])
        )
    if fitting and fitting[0] in fits:
        return ExportedRun(fitting[0], state_root / fitting[0])
    if fitting:
        return _fit_of(fitting[0], *_recorded(evaluations[fitting[0]]), state_root)
    try:
        planned = plan().run(name)
    except ConfigurationError:
        raise ConfigurationError(
            "no run has this id",
            where=str(state_root),
            given=name,
            allowed=_ALLOWED,
            remedy=did_you_mean(name, known) or "`bayesgrid plan ls` prints the ids of evaluations",
        ) from None
    if planned.study == "bayesian_lora_fit":
        return _fit_of(planned.run_id, None, planned.run_id, state_root)
    return _fit_of(planned.run_id, planned.spec, planned.needs.get("fit"), state_root)


def _recorded(manifest: Path) -> tuple[RunSpec | None, str | None]:
    try:
        job = json.loads(manifest.read_text(encoding="utf-8"))["job"]
        study, parameters, fit = job["study"], job["parameters"], job["needs"].get("fit")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StateError("the manifest of the run is damaged", where=str(manifest)) from None
    if fit is None:
        return None, None
    return study_specification(study).from_parameters(parameters, where=str(manifest)), fit


def _fit_of(named: str, spec: RunSpec | None, fit: str | None, state_root: Path) -> ExportedRun:
    if fit is None:
        raise ConfigurationError(
            "this run leaves no posterior over adapters", where=str(state_root), given=named, allowed=_ALLOWED
        )
    if not (state_root / fit / "posterior").is_dir():
        raise StateError(
            "the fit has not been computed here",
            where=str(state_root / fit),
            given=named,
            remedy="run the workflow with an experiment that asks for it, or take the state root that has it",
        )
    return ExportedRun(fit, state_root / fit, spec if isinstance(spec, BayesianLoraSpec) else None)
