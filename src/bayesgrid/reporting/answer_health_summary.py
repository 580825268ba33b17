"""Which finished runs of a plan have findings about their fits or temperatures, and which table marks them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bayesgrid.grid.parameters import counted
from bayesgrid.grid.plan import Plan
from bayesgrid.reporting.answer_health import Findings, findings_of_runs
from bayesgrid.reporting.collect import RunRecord

__all__ = ["findings_by_run", "fit_folders", "unhealthy_lines"]

_WITH_FITS = frozenset({"bayesian_lora", "bayesian_lora_fit"})


def fit_folders(plan: Plan, name: str, results: Path) -> tuple[Path, ...]:
    """Return the published folders of the runs that run ``name`` builds on, nearest first, and of those behind them."""
    folders: list[Path] = []
    waiting = list(plan.runs[name].needs.values())
    while waiting:
        needed = plan.runs[waiting.pop(0)]
        folders.append(results / "runs" / needed.study / needed.run_id)
        waiting += needed.needs.values()
    return tuple(dict.fromkeys(folders))


def findings_by_run(plan: Plan, names: Sequence[str], results: Path) -> dict[str, Findings]:
    """Return what is wrong with fits and temperatures of the finished runs ``names``, by id; healthy ones are left out.

    Raises:
        StateError: if a metrics file is damaged.
    """
    found: dict[str, Findings] = {}
    for name in names:
        run = plan.runs[name]
        if run.study not in _WITH_FITS:
            continue
        folder, behind = results / "runs" / run.study / name, fit_folders(plan, name, results)
        # A fit is the first of the fits that its own health depends on.
        fits = behind if run.needs.get("fit") else (folder, *behind)
        findings = findings_of_runs([RunRecord(name, run.study, {"seeds": run.spec.seeds}, folder, fits=fits)])
        if findings:
            found[name] = findings
    return found


def unhealthy_lines(plan: Plan, finished: Sequence[str], findings: Mapping[str, Findings]) -> list[str]:
    """Return a line for each experiment that has finished runs with findings: how many, and which table marks them.

    Args:
        plan: of the experiments.
        finished: ids of the finished runs.
        findings: of :func:`findings_by_run`.
    """
    lines = []
    for experiment, ids in plan.experiments.items():
        done = [name for name in ids if name in finished]
        unhealthy = [name for name in done if name in findings]
        if not unhealthy:
            continue
        tables = [
            name
            for name, table in plan.tables.items()
            if experiment in table.experiments and table.definition.kind.startswith("answer_")
        ]
        marked = f"; `bayesgrid table {tables[0]}` marks them" if tables else ""
        lines.append(f"{experiment}: {len(unhealthy)} of {counted(len(done), 'finished run')} with findings{marked}")
    return lines
