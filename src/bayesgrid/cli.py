"""``bayesgrid``: what the workflow's rules call, and what a person can call by hand.

Heavy libraries are imported inside the commands that need them, so that planning stays fast.
"""

import json
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from bayesgrid.errors import BayesgridError, ConfigurationError, DataError, did_you_mean

if TYPE_CHECKING:
    from bayesgrid.grid.model_sources import ModelCatalog
    from bayesgrid.grid.plan import Plan
    from bayesgrid.grid.workflow_config import WorkflowConfig

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reproduce, check and extend Bayesian adaptation and active-learning studies.",
)
plan_app = typer.Typer(no_args_is_help=True, help="Look at the runs that the experiments expand to.")
app.add_typer(plan_app, name="plan")
label_app = typer.Typer(no_args_is_help=True, help="Give a run of the study preference its labels by hand.")
app.add_typer(label_app, name="label")

_console = Console()
_errors = Console(stderr=True)

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", envvar="BAYESGRID_PROJECT", help="The checkout; default: the one around this folder."),
]
SettingsOption = Annotated[
    str | None,
    typer.Option(
        "--settings",
        envvar="BAYESGRID_SETTINGS",
        help="Workflow settings, a file or JSON; default: config/config.yaml of the checkout.",
    ),
]
ExperimentOption = Annotated[
    list[str] | None,
    typer.Option("--experiment", "-e", help="Experiment, may be repeated; default: all in the settings."),
]


def main() -> None:
    """Run the command line; a fault of the input ends in one line on standard error and exit status 1."""
    from bayesgrid.store.execution import EXIT_OUT_OF_MEMORY, EXIT_PREEMPTED, EXIT_WAITING, Waiting, failure_kind

    try:
        app()
    except Waiting as pause:
        _errors.print(_escaped(str(pause)), soft_wrap=True, highlight=False)
        sys.exit(EXIT_WAITING)
    except BayesgridError as error:
        _errors.print(f"[bold red]error[/] ({error.kind}): {_escaped(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(EXIT_PREEMPTED if error.kind == "preempted" else 1)
    except (MemoryError, OSError) as error:
        kind = failure_kind(error)
        _errors.print(f"[bold red]error[/] ({kind}): {_escaped(str(error) or kind)}", soft_wrap=True, highlight=False)
        sys.exit(EXIT_OUT_OF_MEMORY if kind == "out_of_memory" else 1)


@app.callback()
def _configure(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is going on.")] = False,
) -> None:
    level = logging.DEBUG if verbose else logging.INFO
    logging.captureWarnings(capture=True)
    if _errors.is_terminal:
        handler: logging.Handler = RichHandler(console=_errors, show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("bayesgrid").setLevel(level)


@app.command()
def run(
    job: Annotated[str, typer.Option(help="The job as canonical JSON, as `bayesgrid plan show ID --job` prints it.")],
    project: ProjectOption = None,
    settings: SettingsOption = None,
    attempt: Annotated[int, typer.Option(help="Which attempt this is.")] = 1,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another process that computes the same run.")] = 0,
) -> None:
    """Compute one run, or continue it from its last checkpoint, and publish its results."""
    from bayesgrid.jobs import compute_job

    compute_job(
        job,
        project=_project(project),
        settings=_settings(project, settings),
        attempt=attempt,
        wait_seconds=wait,
        console=_errors,
    )


@app.command()
def prepare(
    names: Annotated[
        list[str], typer.Argument(help="Data sets and base models, as config/datasets.yaml and models.yaml name them.")
    ],
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Obtain data sets and base models from their sources, check them, and put them where runs read them."""
    from bayesgrid.data.prepare import prepare_dataset
    from bayesgrid.grid.model_sources import load_model_catalog
    from bayesgrid.grid.parameters import unknown
    from bayesgrid.grid.sources import load_dataset_catalog

    root = _project(project)
    chosen = _settings(project, settings)
    catalog = load_dataset_catalog(root / "config" / "datasets.yaml")
    models_file = root / "config" / "models.yaml"
    models = load_model_catalog(models_file) if models_file.is_file() else None
    known = [*catalog.entries, *(models.entries if models is not None else ())]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                unknown("data set or base model", name, known), where=f"{catalog.path} and {models_file.name}"
            )
    missing: list[BayesgridError] = []
    for name in names:
        if models is not None and name in models.entries:
            try:
                _prepare_model(name, models, root, chosen)
            except DataError as error:
                missing.append(error)
            continue
        entry = catalog.entry(name)
        try:
            prepared = prepare_dataset(
                name,
                entry,
                data_root=chosen.state_path(root) / "data",
                mirror=chosen.mirror_path(root),
                user_files=chosen.user_paths(root),
            )
        except DataError as error:
            missing.append(error)
            continue
        _console.print(f"{name}: {entry.label} in {prepared.folder}", soft_wrap=True, highlight=False)
    for fault in missing[:-1]:
        _errors.print(_escaped(str(fault)), soft_wrap=True, highlight=False)
    if missing:
        raise missing[-1]


def _prepare_model(name: str, models: "ModelCatalog", root: Path, settings: "WorkflowConfig") -> None:
    from bayesgrid.models.prepare import prepare_model

    folder = prepare_model(
        name,
        models.entry(name),
        settings.state_path(root) / "models",
        mirror=settings.mirror_path(root),
        user_files=settings.user_paths(root),
    )
    _console.print(f"{name}: {models.entry(name).label} in {folder}", soft_wrap=True, highlight=False)


@app.command()
def prefetch(
    experiments: Annotated[list[str] | None, typer.Argument(help="Experiments; default: all in the settings.")] = None,
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Obtain every data set and base model of the experiments; for a login node before a run without internet."""
    plan = _plan(project, settings, experiments)
    prepare([*plan.datasets(), *plan.models()], project=project, settings=settings)


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="Table, as an experiment's `used_in` names it.")],
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    output: Annotated[Path | None, typer.Option(help="Path without suffix; default: results/tables/NAME.")] = None,
    partial: Annotated[bool, typer.Option(help="Show runs that are not finished as holes.")] = False,
) -> None:
    """Aggregate the runs of a table and write it as Parquet, CSV, Markdown and LaTeX."""
    from bayesgrid.products import write_planned_table

    root = _project(project)
    plan = _plan(project, settings, experiment)
    state_root = _settings(project, settings).state_path(root)
    folder = root / "results" / ("partial" if partial else "tables")
    stem = output or folder / name
    for path in write_planned_table(plan, name, root / "config", root / "results", state_root, stem, partial=partial):
        _console.print(str(path), soft_wrap=True, highlight=False)


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Figure, as an experiment's `used_in` names it.")],
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
) -> None:
    """Draw a figure from its table by running its notebook."""
    from bayesgrid.products import render_planned_figure

    root = _project(project)
    for path in render_planned_figure(_plan(project, settings, experiment), name, root):
        _console.print(str(path), soft_wrap=True, highlight=False)


@app.command()
def claims(
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    output: Annotated[Path | None, typer.Option(help="Path without suffix; default: results/claims.")] = None,
) -> None:
    """Hold the published numbers against the finished runs, write the ledger, and print what is decided."""
    from bayesgrid.products import write_claims

    root = _project(project)
    plan = _plan(project, settings, experiment)
    state_root = _settings(project, settings).state_path(root)
    stem = output or root / "results" / "claims"
    sys.stdout.write(write_claims(plan, root / "config", root / "results", state_root, stem))


@app.command()
def preset(
    search: Annotated[str, typer.Option("--from", help="Experiment of the study regression_search, finished.")],
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Print the best configurations of a hyperparameter search as a preset, for a file of config/presets."""
    from bayesgrid.products import search_preset

    root = _project(project)
    plan = _plan(project, settings, [search])
    sys.stdout.write(search_preset(plan, search, root / "results", _settings(project, settings).state_path(root)))


@app.command()
def export(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Id of a fit or an evaluation, or the end of one.")],
    destination: Annotated[Path, typer.Argument(help="Folder of the adapter that is written.")],
    draw: Annotated[int | None, typer.Option(min=0, help="Number of the draw; default: the posterior mean.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Training seed; needed if the fit has several.")] = None,
    stream: Annotated[int | None, typer.Option(min=0, help="Seed of the draws; default: the evaluation's.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Folder or ORG/NAME@REVISION of the base model; default: where it came from.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Write the mean or a draw of a posterior as a LoRA adapter for stock PEFT, with its answer head beside it."""
    from bayesgrid.grid.experiments import experiment_paths
    from bayesgrid.studies.bayesian_lora.posterior_export import export_posterior

    root = _project(project)
    everywhere = list(experiment_paths(root / "config"))
    for line in export_posterior(
        _settings(project, settings).state_path(root),
        run_name,
        destination,
        lambda: _plan(project, settings, everywhere, with_notebooks=False),
        draw=draw,
        seed=seed,
        stream=stream,
        base=base,
        overwrite=overwrite,
    ):
        _console.print(line, soft_wrap=True, highlight=False)


@app.command()
def status(
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    lines: Annotated[int, typer.Option(help="Log lines shown of runs that are not done or pending.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each run's state: done, pending, running, interrupted, or failed and why, with the end of its log.

    A run that waits for labels by hand shows how many, and the commands that give them.
    A run that is done may have findings: a fit that is not healthy, or a temperature at its bound. They are said behind
    its id, and counted at the end.
    """
    from bayesgrid.reporting.answer_health import findings_text
    from bayesgrid.reporting.answer_health_summary import findings_by_run, unhealthy_lines
    from bayesgrid.store.status import run_status

    root = _project(project)
    plan = _plan(project, settings, experiment)
    state_root = _settings(project, settings).state_path(root)
    rows = [run_status(root / "results", state_root, planned.study, name) for name, planned in plan.runs.items()]
    done = [row.run_id for row in rows if row.state == "done"]
    findings = findings_by_run(plan, done, root / "results")
    if as_json:
        shown = [{**row.as_dict(), "unhealthy": findings.get(row.run_id, {})} for row in rows]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return
    colours = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "pending": "dim"}
    colours["waiting"] = "magenta"
    for row in rows:
        label = f"failed: {row.failure}" if row.state == "failed" else row.state
        seeds = len(plan.runs[row.run_id].spec.seeds)
        unhealthy = findings_text(findings.get(row.run_id, {}), seeds)
        remark = f"  [yellow]{unhealthy}[/]" if unhealthy else ""
        _console.print(f"[{colours[row.state]}]{label:<22}[/] {row.run_id}{remark}", soft_wrap=True, highlight=False)
        if row.state in {"interrupted", "waiting"}:
            for line in (row.message or "").splitlines():
                _console.print(f"    {_escaped(line)}", soft_wrap=True, highlight=False)
        if row.state in {"failed", "running", "interrupted"}:
            for line in row.log_lines(lines):
                _console.print(f"    {_escaped(line)}", soft_wrap=True, highlight=False)
    counts = Counter(row.state for row in rows)
    _console.print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no runs")
    for line in unhealthy_lines(plan, done, findings):
        _console.print(_escaped(line), soft_wrap=True, highlight=False)


@app.command()
def doctor(
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", help="Look at this experiment, may be repeated; default: at all there are."),
    ] = None,
) -> None:
    """Say what this machine has, which experiments it can run, and how to get what those in the settings lack."""
    from bayesgrid.doctor import examine

    for line in examine(_project(project), _settings(project, settings), experiment or ()):
        _console.print(line, soft_wrap=True, highlight=False)


@app.command()
def schema(
    project: ProjectOption = None,
    check: Annotated[bool, typer.Option(help="Only say whether the files are up to date.")] = False,
) -> None:
    """Write the JSON schemas of experiment files and the catalog to config/schemas, for editors to complete from."""
    from bayesgrid.grid.schema import schema_files

    stale = []
    for path, text in schema_files(_project(project) / "config" / "schemas").items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            from bayesgrid.store.atomic import write_text

            write_text(path, text)
    for path in stale:
        _console.print(f"{'stale' if check else 'wrote'}: {path}", soft_wrap=True, highlight=False)
    if check and stale:
        raise typer.Exit(1)


@app.command()
def track(
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    online: Annotated[bool, typer.Option("--online", help="Send now; otherwise `wandb sync` does later.")] = False,
) -> None:
    """Feed the metrics of finished runs to Weights & Biases, each under its run id."""
    from bayesgrid.store.layout import run_folders
    from bayesgrid.store.tracking import feed_wandb

    root = _project(project)
    chosen = _settings(project, settings)
    state_root = chosen.state_path(root)
    for name, planned in _plan(project, settings, experiment).runs.items():
        folders = run_folders(root / "results", state_root, planned.study, name)
        if folders.finished.is_dir():
            sent = feed_wandb(
                folders.tracking,
                run_id=name,
                config=planned.spec.model_dump(mode="json"),
                project=chosen.tracking.project,
                mode="online" if online else "offline",
                directory=state_root / "wandb",
            )
            _console.print(f"{name}: {sent} lines", highlight=False)


@label_app.command("export")
def label_export(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run that waits for labels, or its end.")],
    folder: Annotated[Path, typer.Argument(help="Folder of batch.csv, batch.jsonl and label.html.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files with other content.")] = False,
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Write the pairs that a run waits for as CSV, as JSON lines, and as a page to answer on in a browser."""
    from bayesgrid.studies.preference.label_export import export_batch

    state_root = _settings(project, settings).state_path(_project(project))
    for line in export_batch(state_root / "data", state_root, run_name, folder, overwrite=overwrite):
        _console.print(_escaped(line), soft_wrap=True, highlight=False)


@label_app.command("import")
def label_import(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run that waits for labels, or its end.")],
    files: Annotated[list[Path], typer.Argument(help="Answers, CSV or JSON lines; of one annotator or several.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let answers replace the same annotator's earlier.")
    ] = False,
    project: ProjectOption = None,
    settings: SettingsOption = None,
) -> None:
    """Add people's answers to the pairs that a run waits for: all that the files hold, or nothing."""
    from bayesgrid.studies.preference.label_import import import_answers

    root = _project(project)
    state_root = _settings(project, settings).state_path(root)
    for line in import_answers(root / "results", state_root, run_name, files, replace=replace):
        _console.print(_escaped(line), soft_wrap=True, highlight=False)


@plan_app.command("ls")
def plan_ls(
    project: ProjectOption = None, settings: SettingsOption = None, experiment: ExperimentOption = None
) -> None:
    """List the runs, one id a line, under the experiments that ask for them."""
    from bayesgrid.grid.parameters import counted
    from bayesgrid.grid.run_lookup import further_runs

    plan = _plan(project, settings, experiment)
    for name, ids in plan.experiments.items():
        runs = counted(len(ids), "run") + further_runs(plan, name)
        _console.print(f"[bold]{name}[/]: {_escaped(plan.titles[name])} ({runs})", soft_wrap=True, highlight=False)
        for identity in ids:
            _console.print(f"  {identity}", soft_wrap=True, highlight=False)
    counts = {"run": len(plan.runs), "table": len(plan.tables), "figure": len(plan.figures)}
    _console.print(f"in all {', '.join(counted(count, name) for name, count in counts.items())}", highlight=False)


@plan_app.command("show")
def plan_show(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or the end of one.")],
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    job: Annotated[bool, typer.Option("--job", help="Print only the job, as `bayesgrid run --job` takes it.")] = False,
) -> None:
    """Show one run: every parameter, what enters its id, who uses it."""
    from bayesgrid.grid.experiments import experiment_paths
    from bayesgrid.grid.run_lookup import find_planned

    everywhere = list(experiment_paths(_project(project) / "config"))
    # A run can be shown whatever another experiment draws.
    plan = _plan(project, settings, experiment or everywhere, with_notebooks=experiment is not None)
    planned = find_planned(
        plan,
        run_name,
        lambda: _plan(project, settings, everywhere, with_notebooks=False) if experiment else plan,
        _settings(project, settings).state_path(_project(project)),
    )
    if job:
        sys.stdout.write(planned.job() + "\n")
        return
    shown = {
        "run": planned.run_id,
        "study": planned.study,
        "revision": planned.spec.revision,
        "experiments": list(planned.experiments),
        "data_versions": dict(planned.data_versions),
        "needs": dict(planned.needs),
        "differs_from_defaults": planned.spec.sparse_parameters(),
        "parameters": planned.spec.model_dump(mode="json"),
        "resources": planned.resources.model_dump(mode="json"),
    }
    sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


@plan_app.command("diff")
def plan_diff(
    revision: Annotated[str, typer.Argument(help="A git revision to compare with.")] = "HEAD",
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
) -> None:
    """Say which runs the configuration adds and drops against a git revision (ids by the present code)."""
    from bayesgrid.grid.experiments import experiment_paths
    from bayesgrid.grid.plan import make_plan
    from bayesgrid.grid.plan_difference import compare_plans, configuration_at

    root = _project(project)
    names = experiment or _settings(project, settings).experiments
    with configuration_at(root, revision) as earlier:
        before = make_plan(earlier / "config", [name for name in names if name in experiment_paths(earlier / "config")])
    now = make_plan(root / "config", names, notebooks=_notebooks(root))
    for line in compare_plans(before, now):
        _console.print(line, soft_wrap=True, highlight=False)


@plan_app.command("targets")
def plan_targets(
    project: ProjectOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    table_name: Annotated[str | None, typer.Option("--table", help="Only the runs of this table.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="key=value that a run must have; may be repeated.")] = None,
) -> None:
    """Print the files of chosen runs, as targets for snakemake: `snakemake $(bayesgrid plan targets --where ...)`."""
    from bayesgrid.grid.parameters import flatten, leaf_keys

    plan = _plan(project, settings, experiment)
    chosen = list(plan.runs)
    if table_name is not None:
        from bayesgrid.products import require_planned

        require_planned(plan, "table", table_name, _project(project) / "config")
        chosen = list(plan.tables[table_name].runs)
    for condition in where or []:
        key, separator, value = condition.partition("=")
        known = {name for planned in plan.runs.values() for name in leaf_keys(type(planned.spec))}
        if not separator or key not in known:
            raise ConfigurationError(
                "a condition is KEY=VALUE with a key of the study",
                given=condition,
                allowed=", ".join(sorted(known)),
                remedy=did_you_mean(key, known),
            )
        values = {name: str(flatten(plan.runs[name].spec.model_dump(mode="json")).get(key)) for name in chosen}
        if value not in values.values():
            raise ConfigurationError(
                f"no run has this value of {key!r}",
                given=value,
                allowed=", ".join(sorted(set(values.values()))),
                remedy=did_you_mean(value, values.values()),
            )
        chosen = [name for name in chosen if values[name] == value]
    for name in chosen:
        sys.stdout.write(f"results/runs/{plan.runs[name].study}/{name}/metrics.parquet\n")


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _project(project: Path | None) -> Path:
    from bayesgrid.grid.workflow_config import find_project

    return find_project(project)


def _settings(project: Path | None, settings: str | None) -> "WorkflowConfig":
    from bayesgrid.grid.workflow_config import load_workflow_config

    if settings is None:
        return load_workflow_config(_project(project) / "config" / "config.yaml")
    if not settings.lstrip().startswith("{"):
        return load_workflow_config(Path(settings))
    try:
        return load_workflow_config(json.loads(settings))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"not JSON: {error}", where="--settings") from None


def _plan(
    project: Path | None, settings: str | None, experiments: list[str] | None, *, with_notebooks: bool = True
) -> "Plan":
    from bayesgrid.grid.plan import make_plan

    chosen = _settings(project, settings)
    root = _project(project)
    return make_plan(
        root / "config",
        experiments or chosen.experiments,
        notebooks=_notebooks(root) if with_notebooks else None,
        models_root=chosen.state_path(root) / "models",
    )


def _notebooks(root: Path) -> Path:
    return root / "workflow" / "notebooks"


if __name__ == "__main__":
    main()
