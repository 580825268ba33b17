"""The plan: every run of the chosen experiments with its id, and the tables and figures made from them.

A pure function of configuration files; it imports no numerical library and reads no result.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.experiments import expand, load_experiment
from bayesgrid.grid.figure_notebooks import check_drawn_kind
from bayesgrid.grid.identity import canonical_json, identity_record, run_id
from bayesgrid.grid.model_sources import ModelCatalog, load_model_catalog
from bayesgrid.grid.parameters import located
from bayesgrid.grid.prepared_models import PreparedModels
from bayesgrid.grid.sources import DatasetCatalog, load_dataset_catalog
from bayesgrid.grid.specification import Resources, RunSpec
from bayesgrid.grid.table_options import check_table
from bayesgrid.grid.used_in import FigureDefinition, TableDefinition

__all__ = ["Plan", "PlannedFigure", "PlannedRun", "PlannedTable", "make_plan", "plan_run"]


@dataclass(frozen=True)
class PlannedRun:
    """One run: its id, its specification, the versions that went into the id, what it takes, and who asks for it."""

    run_id: str
    spec: RunSpec
    data_versions: Mapping[str, str]
    needs: Mapping[str, str]
    resources: Resources
    experiments: tuple[str, ...] = ()
    model_revision: str | None = None

    @property
    def study(self) -> str:
        """Return the study's name."""
        return self.spec.study

    def job(self) -> str:
        """Return all a job needs to compute the run, as canonical JSON: sparse parameters, versions, needed runs."""
        job: dict[str, Any] = {
            "run": self.run_id,
            "study": self.study,
            "parameters": self.spec.sparse_parameters(),
            "data_versions": dict(self.data_versions),
            "needs": dict(self.needs),
        }
        if self.model_revision is not None:
            job["model_revision"] = self.model_revision
        return canonical_json(job)


@dataclass(frozen=True)
class PlannedTable:
    """A table, and the ids of the runs it aggregates, in plan order."""

    name: str
    definition: TableDefinition
    runs: tuple[str, ...]
    experiments: tuple[str, ...]

    def place(self) -> str:
        """Return the experiments that feed the table, for messages."""
        return f"experiment {' and '.join(repr(user) for user in self.experiments)}"


@dataclass(frozen=True)
class PlannedFigure:
    """A figure and the notebook and table it is drawn from."""

    name: str
    definition: FigureDefinition


@dataclass
class Plan:
    """Everything the workflow builds."""

    runs: dict[str, PlannedRun] = field(default_factory=dict)
    tables: dict[str, PlannedTable] = field(default_factory=dict)
    figures: dict[str, PlannedFigure] = field(default_factory=dict)
    experiments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def of_study(self, study: str) -> Iterator[PlannedRun]:
        """Yield the runs of one study."""
        return (run for run in self.runs.values() if run.study == study)

    def datasets(self) -> tuple[str, ...]:
        """Return the data sets that some run reads, sorted."""
        return tuple(sorted({name for run in self.runs.values() for name in run.spec.dataset_names()}))

    def data_version(self, dataset: str) -> str:
        """Return the version of a data set that some run reads."""
        return next(run.data_versions[dataset] for run in self.runs.values() if dataset in run.data_versions)

    def models(self) -> dict[str, str]:
        """Return the base models that some run loads, sorted, with their revisions."""
        loaded = ((run.spec.model_name(), run.model_revision) for run in self.runs.values())
        return {name: revision for name, revision in sorted(set(loaded), key=str) if name and revision}

    def run(self, name: str) -> PlannedRun:
        """Return the run with id ``name`` or the only one whose id ends with it.

        Raises:
            ConfigurationError: if none or several fit.
        """
        fitting = [run for key, run in self.runs.items() if key == name or key.endswith(name)]
        if len(fitting) != 1:
            raise ConfigurationError(
                "no run has this id" if not fitting else f"{len(fitting)} runs end with this id",
                given=name,
                allowed="an id, or the end of one, that `bayesgrid plan ls` prints",
                remedy=did_you_mean(name, self.runs),
            )
        return fitting[0]


def plan_run(
    spec: RunSpec,
    catalog: DatasetCatalog,
    models: ModelCatalog | None = None,
    prepared: PreparedModels | None = None,
) -> dict[str, PlannedRun]:
    """Return ``spec`` as a planned run, preceded by the runs it needs, by id.

    Args:
        spec: the run.
        catalog: all data sets.
        models: all base models, if there is such a catalogue.
        prepared: the base models that are there already, whose structure is then checked too.

    Raises:
        ConfigurationError: if the base model it names is unknown or does not suit it, or there is no catalog of models.
    """
    planned: dict[str, PlannedRun] = {}
    needs: dict[str, str] = {}
    for role, needed in spec.needs().items():
        below = plan_run(needed, catalog, models, prepared)
        planned.update(below)
        needs[role] = list(below)[-1]
    data_versions = {name: catalog.entry(name).data_version() for name in spec.dataset_names()}
    revision = _model_revision(spec, catalog, models, prepared)
    record = identity_record(spec, data_versions=data_versions, model_revision=revision, needs=needs)
    identity = run_id(spec.slug(), record)
    resources = spec.resources(catalog, models)
    planned[identity] = PlannedRun(identity, spec, data_versions, needs, resources, model_revision=revision)
    return planned


def _model_revision(
    spec: RunSpec, catalog: DatasetCatalog, models: ModelCatalog | None, prepared: PreparedModels | None
) -> str | None:
    name = spec.model_name()
    if name is None:
        return None
    if models is None:
        raise ConfigurationError("a study loads a base model, but there is no config/models.yaml", given=name)
    entry = models.entry(name)
    spec.check_model(entry)
    revision = entry.revision()
    spec.check_inputs(catalog, entry, prepared.structure(name, revision) if prepared is not None else None)
    return revision


def make_plan(
    config: Path, experiments: Sequence[str], *, notebooks: Path | None = None, models_root: Path | None = None
) -> Plan:
    """Expand ``experiments``, files under the folder ``config``, to the runs, tables and figures they ask for.

    Args:
        config: the folder of configuration files.
        experiments: names of experiment files.
        notebooks: folder that must hold the notebook of every figure; not looked at by default.
        models_root: folder of prepared base models; runs are held against the structure of those that are there.

    Raises:
        ConfigurationError: at the first fault, naming file, experiment, key, value and what is allowed.
    """
    catalog = load_dataset_catalog(config / "datasets.yaml")
    models = load_model_catalog(config / "models.yaml") if (config / "models.yaml").is_file() else None
    prepared = PreparedModels(models_root) if models_root is not None else None
    plan = Plan()
    for name in dict.fromkeys(experiments):
        experiment, path = load_experiment(config, name)
        ids: list[str] = []
        for spec in expand(experiment, path=path, config=config, catalog=catalog):
            try:
                planned = plan_run(spec, catalog, models, prepared)
            except ConfigurationError as error:
                raise located(error, f"{path}, experiment {name!r}, run {spec.slug()}") from None
            ids.append(list(planned)[-1])
            for identity, run in planned.items():
                known = plan.runs.get(identity, run)
                users = tuple(dict.fromkeys((*known.experiments, name)))
                plan.runs[identity] = replace(run, experiments=users)
        plan.experiments[name] = tuple(ids)
        plan.titles[name] = experiment.title
        for table, definition in experiment.used_in.tables.items():
            _add_table(plan, table, definition, ids, name, path)
        for figure_name, drawn in experiment.used_in.figures.items():
            _add_figure(plan, figure_name, drawn, path)
    for planned_table in plan.tables.values():
        feeding = [plan.runs[identity].spec for identity in planned_table.runs]
        check_table(planned_table.name, planned_table.definition, feeding, planned_table.place())
    for figure in plan.figures.values():
        if figure.definition.table not in plan.tables:
            raise ConfigurationError(
                f"figure {figure.name!r} draws a table that no chosen experiment feeds",
                given=figure.definition.table,
                allowed=", ".join(plan.tables) or "(no table)",
                remedy=did_you_mean(figure.definition.table, plan.tables),
            )
        if notebooks is not None:
            source = plan.tables[figure.definition.table]
            check_drawn_kind(figure.name, figure.definition, source.definition.kind, notebooks, source.place())
    return plan


def _add_table(plan: Plan, name: str, definition: TableDefinition, ids: Sequence[str], user: str, path: Path) -> None:
    known = plan.tables.get(name)
    if known is not None and known.definition != definition:
        raise ConfigurationError(
            f"table {name!r} is defined in another way by experiment {known.experiments[0]!r}",
            where=str(path),
            given=_plain(definition),
            allowed=_plain(known.definition),
        )
    runs = tuple(dict.fromkeys((*(known.runs if known else ()), *ids)))
    users = (*(known.experiments if known else ()), user)
    plan.tables[name] = PlannedTable(name, definition, runs, users)


def _add_figure(plan: Plan, name: str, definition: FigureDefinition, path: Path) -> None:
    known = plan.figures.get(name)
    if known is not None and known.definition != definition:
        raise ConfigurationError(
            f"figure {name!r} is defined in another way by another experiment",
            where=str(path),
            given=_plain(definition),
            allowed=_plain(known.definition),
        )
    plan.figures[name] = PlannedFigure(name, definition)


def _plain(definition: TableDefinition | FigureDefinition) -> dict[str, Any]:
    return definition.model_dump(mode="json")
