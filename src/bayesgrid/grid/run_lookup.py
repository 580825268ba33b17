"""What a plan says of runs to a user: where one is that was named, and what those of an experiment need."""

from collections.abc import Callable
from pathlib import Path

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.plan import Plan, PlannedRun

__all__ = ["find_planned", "further_runs"]


def find_planned(plan: Plan, name: str, everywhere: Callable[[], Plan], state_root: Path) -> PlannedRun:
    """Return the run of ``plan`` with id ``name`` or the only one whose id ends with it.

    Args:
        plan: of the chosen experiments.
        name: the id, or its end.
        everywhere: makes the plan of all experiments; asked only if ``plan`` lacks the run.
        state_root: where runs keep their state.

    Raises:
        ConfigurationError: if none or several fit, saying which experiment asks for the run, or that it is finished and
            no experiment does.
    """
    try:
        return plan.run(name)
    except ConfigurationError as error:
        if any(key.endswith(name) for key in plan.runs):
            raise
        elsewhere = _elsewhere(name, everywhere)
        if elsewhere is not None:
            raise ConfigurationError(
                "no chosen experiment asks for this run",
                given=elsewhere.run_id,
                remedy=f"{' and '.join(map(repr, elsewhere.experiments))} does: add `-e {elsewhere.experiments[0]}`",
            ) from None
        finished = [path for path in sorted(state_root.glob("*/finished/manifest.json")) if _ends(path, name)]
        if len(finished) == 1:
            raise ConfigurationError(
                "the run is finished in the state root, but no experiment asks for it any more",
                given=finished[0].parents[1].name,
                remedy=f"what it was made from is in {finished[0]}",
            ) from None
        raise error from None


def further_runs(plan: Plan, experiment: str) -> str:
    """Return what the runs of ``experiment`` need beside themselves, as the end of a sentence; empty if nothing."""
    asked = set(plan.experiments[experiment])
    further = [run for run in plan.runs.values() if experiment in run.experiments and run.run_id not in asked]
    studies = ", ".join(dict.fromkeys(run.study for run in further))
    needing = "need" if len(asked) > 1 else "needs"
    return f", which {needing} {len(further)} more of {studies}" if further else ""


def _ends(manifest: Path, name: str) -> bool:
    return manifest.parents[1].name.endswith(name)


def _elsewhere(name: str, everywhere: Callable[[], Plan]) -> PlannedRun | None:
    try:
        return everywhere().run(name)
    except ConfigurationError:
        return None
