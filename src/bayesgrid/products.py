"""Tables, figures and the ledger of claims of a plan: what the workflow's rules make from published results."""

from pathlib import Path
from typing import Literal

from bayesgrid.errors import ConfigurationError, StateError, did_you_mean
from bayesgrid.grid.experiments import experiment_paths, experiments_naming
from bayesgrid.grid.figure_notebooks import require_notebook
from bayesgrid.grid.plan import Plan, make_plan
from bayesgrid.reporting.answer_health_summary import fit_folders
from bayesgrid.reporting.claims import claims_table, evaluate_claims, load_claims
from bayesgrid.reporting.collect import RunRecord, require_searches
from bayesgrid.reporting.figures import render_notebook
from bayesgrid.reporting.html_tables import html
from bayesgrid.reporting.hyperparameter_presets import hyperparameter_preset
from bayesgrid.reporting.source_texts import SourceTexts, load_source_texts
from bayesgrid.reporting.table import Table
from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial, write_table
from bayesgrid.store.atomic import write_text
from bayesgrid.store.status import run_status

__all__ = [
    "render_planned_figure",
    "require_planned",
    "run_records",
    "search_preset",
    "write_claims",
    "write_planned_table",
]


def run_records(
    plan: Plan, names: tuple[str, ...], results: Path, state_root: Path, sources: SourceTexts | None = None
) -> list[RunRecord]:
    """Return what reporting needs to know of the runs ``names``, with the state each is in now.

    ``sources`` are what tables say of models and data sets.
    """
    records = []
    for name in names:
        run = plan.runs[name]
        folder = results / "runs" / run.study / name
        status = run_status(results, state_root, run.study, name)
        state = f"failed:{status.failure}" if status.state == "failed" else status.state
        if state == "done" and not (folder / "manifest.json").is_file():
            # Finished in the state root, but this checkout has not published it yet.
            state = "pending"
        spec, fits = run.spec.model_dump(mode="json"), fit_folders(plan, name, results)
        records.append(RunRecord(name, run.study, spec, folder, run.experiments, state, fits, sources or {}))
    return records


def require_planned(plan: Plan, what: Literal["table", "figure"], name: str, config: Path) -> None:
    """Raise ConfigurationError unless the plan has the table or figure ``name``, saying which experiment has it."""
    known = list(plan.tables if what == "table" else plan.figures)
    if name in known:
        return
    naming = experiments_naming(config, what, name)
    elsewhere = f"it is made from {' and '.join(naming)}: add `-e {' -e '.join(naming)}`"
    raise ConfigurationError(
        f"no chosen experiment has this {what}" if naming else f"unknown {what}",
        given=name,
        allowed=", ".join(known) or f"(no chosen experiment has a {what})",
        remedy=elsewhere if naming else did_you_mean(name, known),
    )


def write_planned_table(
    plan: Plan, name: str, config: Path, results: Path, state_root: Path, stem: Path, *, partial: bool
) -> list[Path]:
    """Build table ``name`` of the plan, write it beside ``stem`` in every form, and return the paths.

    Raises:
        ConfigurationError: if no chosen experiment feeds such a table.
        StateError: if a run is missing (unless ``partial``) or damaged.
    """
    require_planned(plan, "table", name, config)
    planned = plan.tables[name]
    records = run_records(plan, planned.runs, results, state_root, load_source_texts(config))
    build = render_partial if partial else build_table
    return _write(build(planned.definition.kind, records, planned.definition.options), stem)


def render_planned_figure(plan: Plan, name: str, project: Path) -> list[Path]:
    """Run the notebook of figure ``name`` and return the paths of the image files and of the executed notebook.

    Raises:
        ConfigurationError: if no chosen experiment feeds such a figure, or its notebook does not exist.
    """
    require_planned(plan, "figure", name, project / "config")
    definition = plan.figures[name].definition
    source = require_notebook(name, definition, project / "workflow" / "notebooks")
    results = project / "results"
    stem = results / "figures" / name
    executed = results / "notebooks" / f"{name}.ipynb"
    parameters = {
        "table": str(results / "tables" / f"{definition.table}.parquet"),
        "output_stem": str(stem),
        "title": definition.title,
    }
    written = render_notebook(source, executed, parameters)
    return [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")] + list(written)


def search_preset(plan: Plan, experiment: str, results: Path, state_root: Path) -> str:
    """Return the best configurations of the hyperparameter search ``experiment`` as the YAML text of a preset.

    Raises:
        ConfigurationError: if the experiment is no search, or gives no single answer.
        StateError: if a run is not finished, or a result file is missing or damaged.
    """
    records = run_records(plan, plan.experiments[experiment], results, state_root)
    require_searches(records)
    waiting = [run for run in records if not run.finished]
    if waiting:
        raise StateError(
            f"{len(waiting)} of the {len(records)} runs of {experiment!r} are not finished",
            given=", ".join(f"{run.run_id} ({run.state})" for run in waiting[:3]),
            remedy="run the workflow to the end",
        )
    return hyperparameter_preset(records, experiment)


def write_claims(plan: Plan, config: Path, results: Path, state_root: Path, stem: Path) -> str:
    """Evaluate every claim against the plan's finished runs, write the ledger, and return what it says.

    That is the decided claims as Markdown, then a line with the number of claims of each verdict and the ledger's path.

    Raises:
        ConfigurationError: if ``config/claims.yaml`` does not fit its schema.
    """
    claims = load_claims(config / "claims.yaml")
    # Runs of experiments that this build leaves out may be there from another one; what is finished is judged.
    known = experiment_paths(config)
    tested = {test.experiment for claim in claims for test in claim.tests if test.experiment in known}
    everything = make_plan(config, [*plan.experiments, *sorted(tested - set(plan.experiments))])
    records = run_records(everything, tuple(everything.runs), results, state_root)
    evaluated = evaluate_claims(claims, records)
    # A reader looks for the experiments of this build first.
    elsewhere = ~evaluated["experiment"].isin(list(plan.experiments))
    ordered = evaluated.iloc[elsewhere.argsort(kind="stable")].reset_index(drop=True)
    _write(claims_table(ordered), stem)
    decided = ordered[ordered["verdict"] != "not run"]
    text = markdown(claims_table(decided)) if len(decided) else "no claim is decided by the finished runs\n"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in ordered["verdict"].value_counts().items())
    return f"{text}{counts}; all of them: {stem}.md\n"


def _write(table: Table, stem: Path) -> list[Path]:
    page = stem.with_name(f"{stem.name}.html")
    written = write_table(table, stem)
    write_text(page, html(table))
    return [*written, page]
