"""What decides a fitted adapter posterior: model, data, method, and every hyperparameter."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import field_validator, model_validator

from bayesgrid.grid.model_sources import ModelCatalog, ModelEntry
from bayesgrid.grid.precision_names import own_precision_name
from bayesgrid.grid.prepared_models import ModelStructure
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug
from bayesgrid.studies.bayesian_lora.faithful_values import faithful_values, method_to_train
from bayesgrid.studies.bayesian_lora.fit_checks import check_laplace_prior, check_scope, check_training_data
from bayesgrid.studies.bayesian_lora.fit_parameters import (
    PARENTS,
    DropoutSpec,
    EnsembleSpec,
    GaussianPriorSpec,
    IvonSpec,
    LabelsSpec,
    LaplaceSpec,
    LoraSpec,
    Method,
    PromptSpec,
    TrainingSpec,
    VariationalSpec,
    WidthSpec,
)
from bayesgrid.studies.bayesian_lora.job_resources import JobSize, job_resources, split_size
from bayesgrid.studies.bayesian_lora.model_checks import check_adapters, check_questions, check_structure

__all__ = ["FitSpec"]

_GROUPS: Mapping[Method, frozenset[str]] = {
    "zeroshot": frozenset(),
    "mle": frozenset({"lora", "training"}),
    "map": frozenset({"lora", "training", "map"}),
    "mcdropout": frozenset({"lora", "training", "dropout"}),
    "ensemble": frozenset({"lora", "training", "ensemble"}),
    "blob": frozenset({"lora", "training", "variational"}),
    "scalabl": frozenset({"lora", "training", "variational"}),
    "ivon": frozenset({"lora", "training", "ivon"}),
    "tfb": frozenset({"width"}),
    "laplace": frozenset({"laplace"}),
    "laplace_kronecker": frozenset({"laplace"}),
}
"""The groups of parameters each method reads, besides those of all methods."""
_ONE_MODE: tuple[Method, ...] = ("zeroshot", "mle", "ivon", "laplace")
"""Methods for which there is nothing that the reference does otherwise, or that it does not have."""
_METHOD_GROUPS = frozenset().union(*_GROUPS.values())


_UNREAD_VARIATIONAL: Mapping[str, tuple[str, ...]] = {"blob": ("prior",), "scalabl": ("flipout", "prior_deviation")}
"""Keys of that group which a method has no use for."""
_DEPARTURES = ("kl_direction", "prior", "optimisers", "kl_weight", "flipout")
"""Keys of the variational objective that a reader of a folder's name looks for."""

_WIDTHS_TRIED = 12
"""About how many widths the search of TFB looks at."""


class FitSpec(RunSpec):
    """One method fitted to one data set on one base model, for a block of seeds."""

    study: ClassVar[str] = "bayesian_lora_fit"
    revision: ClassVar[int] = 1
    entry_point: ClassVar[str] = "bayesgrid.studies.bayesian_lora.fit:run"

    model: str
    """Base model, as named in ``config/models.yaml``."""
    dataset: str
    """Data set whose training split is learnt, as named in ``config/datasets.yaml``."""
    method: Method
    mode: Literal["correct", "faithful"] = "correct"
    """``faithful`` takes the reference code's objective, noise and search unless a key says otherwise."""
    precision: Literal["float32", "bfloat16", "int8", "nf4"] = "bfloat16"
    """How the frozen base is stored and multiplied; adapters and answer logits are float32 in any case."""
    prompt: PromptSpec = PromptSpec()
    lora: LoraSpec = LoraSpec()
    labels: LabelsSpec = LabelsSpec()
    training: TrainingSpec = TrainingSpec()
    variational: VariationalSpec = VariationalSpec()
    map: GaussianPriorSpec = GaussianPriorSpec()
    dropout: DropoutSpec = DropoutSpec()
    ensemble: EnsembleSpec = EnsembleSpec()
    width: WidthSpec = WidthSpec()
    laplace: LaplaceSpec = LaplaceSpec()
    ivon: IvonSpec = IvonSpec()

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_by_its_own_name(cls, value: Any) -> Any:
        return own_precision_name(value, get_args(cls.model_fields["precision"].annotation))

    @model_validator(mode="before")
    @classmethod
    def _faithful_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("mode") != "faithful":
            return values
        filled = dict(values)
        for group, own in faithful_values(method_to_train(values)).items():
            given = filled.get(group, {})
            if own and isinstance(given, Mapping):
                filled[group] = {**own, **given}
        return filled

    def sparse_parameters(self) -> dict[str, Any]:
        """Return the parameters that differ from what their absence stands for; seeds are always there.

        Groups that the method does not read are left out, so that a value meant for another method of the same grid
        makes no second run; and so is the mode of a method that has one. In ``mode: faithful`` an absent key stands for
        the reference's value, so one that was set back to the default, to correct one defect, is named.
        """
        sparse = super().sparse_parameters()
        if self.mode == "faithful":
            for group, values in faithful_values(self._trained()).items():
                for name, value in values.items():
                    given = getattr(getattr(self, group), name)
                    if given != value:
                        sparse.setdefault(group, {})[name] = given
        for key in _UNREAD_VARIATIONAL.get(self._trained(), ()):
            sparse.get("variational", {}).pop(key, None)
        if not sparse.get("variational", True):
            sparse.pop("variational")
        unread = _METHOD_GROUPS - self._groups_read() | ({"mode"} if self.method in _ONE_MODE else set())
        return {key: value for key, value in sparse.items() if key not in unread}

    def _groups_read(self) -> frozenset[str]:
        parent = self.parent_method()
        own = _GROUPS[self.method]
        return own if parent is None else own | _GROUPS[parent]

    def slug(self) -> str:
        """Return model, training set, method, mode, departures from the mode's objective, and seeds."""
        parts = [self.model, self.dataset, self.method, *self.departures()]
        if self.mode != "correct" and self.method not in _ONE_MODE:
            parts.append(self.mode)
        return "-".join([*parts, seed_slug(self.seeds)])

    def departures(self) -> tuple[str, ...]:
        """Return what a variational method does otherwise than its mode, as ``key_value``."""
        if "variational" not in self._groups_read():
            return ()
        usual = faithful_values(self._trained())["variational"] if self.mode == "faithful" else {}
        fields = VariationalSpec.model_fields
        unread = _UNREAD_VARIATIONAL.get(self._trained(), ())
        given = {key: getattr(self.variational, key) for key in _DEPARTURES if key not in unread}
        return tuple(f"{key}_{value}" for key, value in given.items() if value != usual.get(key, fields[key].default))

    def dataset_names(self) -> tuple[str, ...]:
        """Return the training set."""
        return (self.dataset,)

    def model_name(self) -> str | None:
        """Return the base model."""
        return self.model

    def parent_method(self) -> Method | None:
        """Return the method whose adapter this one is fitted to; None if it trains its own."""
        if self.method == "tfb":
            return self.width.parent
        return self.laplace.parent if self.method in PARENTS else None

    def _trained(self) -> Method:
        return self.parent_method() or self.method

    def needs(self) -> Mapping[str, RunSpec]:
        """Return the fit that the method starts from, as role ``parent``."""
        parent = self.parent_method()
        if parent is None:
            return {}
        read = _GROUPS[parent] | {"model", "dataset", "precision", "prompt", "labels", "seeds", "mode"}
        values = {name: value for name, value in self.model_dump(mode="json").items() if name in read}
        return {"parent": FitSpec.from_parameters({**values, "method": parent}, where=f"parent of {self.method}")}

    def resources(self, datasets: DatasetCatalog | None = None, models: ModelCatalog | None = None) -> Resources:
        """Return what the size of the model and the work of the method ask for; see :mod:`.job_resources`.

        Without catalogues the model counts for nothing and the training split for ``UNKNOWN_QUESTIONS``.
        """
        return job_resources(self.job_size(datasets, models))

    def job_size(self, datasets: DatasetCatalog | None, models: ModelCatalog | None) -> JobSize:
        """Return the size of the fit."""
        learnt, options = self.learnt_labels(datasets), self.options(datasets)
        slots = len(self.seeds) * (self.ensemble.members if self.method == "ensemble" else 1)
        rows = slots * self.training.batch_size
        passes, jacobian_rows = 2 * self.training.steps * rows, 0
        if self.method == "zeroshot":
            rows = passes = 0
        elif self.method == "tfb":
            anchors = min(self.width.anchors or learnt, learnt)
            rows, passes = 0, _WIDTHS_TRIED * self.width.draws * anchors * len(self.seeds)
        elif self.method in PARENTS:
            jacobian_rows = learnt * (options - 1)
            if self.method == "laplace_kronecker" and self.mode == "faithful":
                # Sums over tokens of a matrix's inputs and gradients, not the matrix of both.
                jacobian_rows = learnt * options // self.lora.rank
            rows, passes = learnt, learnt * options * len(self.seeds)
        return JobSize(
            weights=0 if models is None else models.entry(self.model).parameters,
            precision=self.precision,
            rank=self.lora.rank,
            targets=len(self.lora.targets),
            top_blocks=self.lora.top_blocks,
            slots=slots,
            gradient_rows=rows,
            questions=learnt,
            passes=passes,
            jacobian_rows=jacobian_rows,
            head_jacobian=self.laplace.scope == "head",
        )

    def learnt_labels(self, datasets: DatasetCatalog | None) -> int:
        """Return how many labels are learnt or held out."""
        return self.labels.budget or split_size(datasets, self.dataset, "train")

    def options(self, datasets: DatasetCatalog | None) -> int:
        """Return how many labels the training set offers."""
        return 2 if datasets is None else len(datasets.choice_questions(self.dataset).labels)

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the data set cannot be learnt from, or keys contradict each other."""
        check_training_data(self.dataset, self.labels.budget, catalog)
        scopes = {"tfb": self.width.scope, "laplace": self.laplace.scope, "laplace_kronecker": self.laplace.scope}
        check_scope(scopes.get(self.method, "all"), self.lora)
        if self.method in PARENTS[1:]:
            check_laplace_prior(self.laplace, self.mode)

    def check_model(self, entry: ModelEntry) -> None:
        """Raise ConfigurationError if the model has no head that answers, or not the layers that are to be adapted."""
        super().check_model(entry)
        check_adapters(self.lora.targets, self.lora.top_blocks, self.model, entry)

    def check_inputs(self, datasets: DatasetCatalog, entry: ModelEntry, structure: ModelStructure | None) -> None:
        """Raise ConfigurationError if the model cannot be asked the questions, or has too few blocks."""
        check_questions(self.dataset_names(), self.prompt.form, self.model, entry, datasets)
        if structure is not None:
            check_structure(self.lora.top_blocks, self.model, structure)
