"""What decides a fitted adapter posterior: model, data, method, and every hyperparameter."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources, RunSpec, seed_slug

__all__ = ["FAITHFUL_VALUES", "PARENTS", "FitSpec", "Method", "Scope"]

Method = Literal[
    "zeroshot", "mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "ivon", "tfb", "laplace", "laplace_kronecker"
]
"""The methods; each is a file under ``studies/bayesian_lora/methods``."""

Scope = Literal["all", "head"]
"""Which adapters are uncertain: all of them, or that of the answer head."""

PARENTS: tuple[Method, ...] = ("tfb", "laplace", "laplace_kronecker")
"""Methods that are fitted to an adapter another method has trained."""


class LoraSpec(Parameters):
    """Where the adapters sit and how large they are."""

    rank: int = Field(default=8, ge=1)
    """Rank r of every adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """Updates are scaled by alpha / rank."""
    targets: tuple[str, ...] = Field(default=("q_proj", "v_proj"), min_length=1, strict=False)
    """Names of the linear layers to adapt in every transformer block."""
    top_blocks: int | None = Field(default=None, ge=1)
    """Adapt this many of the last transformer blocks only; the states below are then computed once and kept."""
    head: bool = True
    """Whether the answer head has an adapter too."""


class PromptSpec(Parameters):
    """How a question becomes the model's input."""

    form: Literal["instruct", "base"] = "instruct"
    """The model's own chat template, or plain text that ends with ``Answer:``."""


class LabelsSpec(Parameters):
    """How many labels a method may see; the same for all methods of a comparison."""

    budget: int | None = Field(default=None, ge=4)
    """Labelled training questions in all, a fixed random subset; the whole training split by default."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of them that is held out of training, for the temperature and for early stopping."""


class TrainingSpec(Parameters):
    """How adapters are trained (defaults: the published recipe, conf/default.yaml of the reference)."""

    steps: int = Field(default=5000, ge=1)
    """Gradient steps at most."""
    batch_size: int = Field(default=4, ge=1)
    """Questions per step and seed."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak rate of AdamW: linear warm-up, then linear decay to 0."""
    warmup_fraction: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps that warm up."""
    epsilon: float = Field(default=1e-6, gt=0)
    """Added to the root of AdamW's second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay per unit of learning rate."""
    gradient_clip: float | None = Field(default=None, gt=0)
    """Greatest gradient norm of one seed's adapter; none by default."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass that the target spreads over the options present."""
    early_stopping: Literal["none", "restore_best"] = "none"
    """``restore_best`` keeps the weights with the lowest validation NLL."""
    evaluate_every: int = Field(default=100, ge=1)
    """Steps between validations, if training may stop early."""
    patience: int = Field(default=5, ge=1)
    """Validations without improvement after which a seed stops."""


class VariationalSpec(Parameters):
    """The objective of BLoB and ScalaBL; each key can be set to what the reference code does, one at a time."""

    kl_direction: Literal["posterior_to_prior", "prior_to_posterior"] = "posterior_to_prior"
    """KL(q‖p) of the evidence bound, or the reverse, as the reference's ScalaBL computes."""
    prior: Literal["standard", "aliased"] = "standard"
    """ScalaBL's prior N(0, 1), or the one that the reference builds from its aliased initial deviations."""
    optimisers: Literal["joint", "separate"] = "joint"
    """One AdamW on the whole objective, or a second step by plain gradient descent on the divergence alone."""
    kl_weight: Literal["per_example", "cyclic", "unscaled"] = "per_example"
    """Weight of the divergence beside the mean NLL: 1 / N, 2^i / (2^(M+1) − 1) within a cycle of M steps, or 1."""
    flipout: Literal["per_example", "per_token", "none"] = "per_example"
    """What BLoB's noise is shared by in training: one example's tokens, nothing, or the whole batch of a seed."""
    temperature: float = Field(default=1.0, ge=0)
    """Multiplies the divergence; below 1 is a cold posterior."""
    kl_warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the weight ``per_example`` rises from 0."""
    deviation_learning_rate: float = Field(default=1e-2, gt=0)
    """Peak AdamW rate of the standard deviations."""
    kl_learning_rate: float | None = Field(default=None, gt=0)
    """Rate of the separate step on the divergence: 0.01 for BLoB and 0.2 for ScalaBL by default."""
    initial_deviation: float = Field(default=0.05, gt=0)
    """Upper end ε of the initial spread: BLoB starts at ρ ~ U(ε/√2, ε) with σ = ρ², ScalaBL at σ ~ U(ε/√2, ε)."""
    prior_deviation: float = Field(default=0.2, gt=0)
    """Standard deviation β of BLoB's prior N(0, β²)."""


class GaussianPriorSpec(Parameters):
    """The prior of MAP."""

    standard_deviation: float = Field(default=0.1, gt=0)
    """Of every adapter weight; enters the loss as ‖θ‖² / (2 N σ²)."""


class DropoutSpec(Parameters):
    """MC dropout on the adapters' inputs."""

    probability: float = Field(default=0.1, gt=0, lt=1)
    mask: Literal["per_example", "per_token"] = "per_example"
    """What one mask is shared by in training."""


class EnsembleSpec(Parameters):
    """Independent adapters."""

    members: int = Field(default=10, ge=2)
    order: Literal["own", "shared"] = "own"
    """Whether every member sees the data in an order of its own."""


class WidthSpec(Parameters):
    """TFB: the largest posterior width that changes the anchors' loss by no more than a tolerance."""

    parent: Literal["mle", "map", "blob"] = "mle"
    """The method whose posterior mean is widened."""
    scope: Scope = "all"
    """Every adapter, or the answer head alone."""
    anchors: int | None = Field(default=500, ge=1)
    """Training questions the loss is measured on; null takes all."""
    targets: Literal["predicted", "labels"] = "predicted"
    """What the loss is measured against: the adapter's own answers, or the labels."""
    draws: int = Field(default=10, ge=1)
    relative_tolerance: float = Field(default=0.003, ge=0)
    """Largest change of the mean loss, relative to the loss without noise."""
    absolute_tolerance: float = Field(default=0.001, ge=0)
    """Added to it, in nats, so that a loss near 0 has a tolerance at all."""
    search: Literal["largest_feasible", "smallest_violating"] = "largest_feasible"
    """``smallest_violating`` is the reference's bisection, which returns a width that breaks the tolerance."""


class LaplaceSpec(Parameters):
    """Laplace's approximation around a trained adapter."""

    parent: Literal["mle", "map"] = "map"
    """The adapter it is centred at."""
    scope: Scope = "all"
    prior_precision: Annotated[float, Field(gt=0)] | Literal["evidence"] = "evidence"
    """A value, or the maximum of the marginal likelihood."""
    logit_draws: int = Field(default=128, ge=1)
    """Draws of the Gaussian logits that are stored per question."""


class IvonSpec(Parameters):
    """IVON-LoRA (arXiv 2402.17641, 2411.04421): a diagonal Gaussian learnt at the cost of AdamW."""

    learning_rate: float = Field(default=0.03, gt=0)
    hessian_decay: float = Field(default=0.9999, gt=0, lt=1)
    initial_hessian: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-6, ge=0)
    clip: float = Field(default=1e-3, gt=0)
    """Largest absolute value of one entry of the preconditioned step."""
    effective_sample_size: float = Field(default=1e6, gt=0)
    """λ: deviations start at (λ · initial_hessian)^−½, 0.03 by default. With λ the number of training questions they
    start above 1 and drown the adapter; the published range is 1e6 to 1e8."""


FAITHFUL_VALUES: Mapping[str, Mapping[str, Any]] = {
    "variational": {
        "kl_direction": "prior_to_posterior",
        "prior": "aliased",
        "optimisers": "separate",
        "kl_weight": "cyclic",
        "flipout": "per_token",
    },
    "training": {},
    "dropout": {"mask": "per_token"},
    "ensemble": {"order": "shared"},
    "width": {"search": "smallest_violating", "targets": "labels", "anchors": None, "absolute_tolerance": 0.0},
    "laplace": {"parent": "mle"},
}
"""What ``mode: faithful`` puts in the place of defaults: the reference code at commit 3843000."""


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


def _usual_values(trained: object) -> dict[str, dict[str, Any]]:
    """Return the reference's values where gradient descent trains ``trained``, a method of its own or a parent."""
    usual = {group: dict(values) for group, values in FAITHFUL_VALUES.items()}
    if trained == "blob":
        # BLoB's own divergence has the right direction and its prior no alias.
        usual["variational"] |= {"kl_direction": "posterior_to_prior", "prior": "standard"}
    if trained == "map":
        usual["training"]["weight_decay"] = 0.01
    return usual


def _trained_method(values: Mapping[str, Any]) -> object:
    """Return the method whose adapter gradient descent trains, from values as a file gives them, in faithful mode."""
    method = values.get("method")
    if method not in PARENTS:
        return method
    group = values.get("width" if method == "tfb" else "laplace")
    return group.get("parent", "mle") if isinstance(group, Mapping) else "mle"


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

    @model_validator(mode="before")
    @classmethod
    def _faithful_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("mode") != "faithful":
            return values
        filled = dict(values)
        for group, own in _usual_values(_trained_method(values)).items():
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
            for group, values in _usual_values(self._trained()).items():
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
        usual = _usual_values(self._trained())["variational"] if self.mode == "faithful" else {}
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

    def resources(self) -> Resources:
        """Return one GPU for models that need one, and time by the number of steps."""
        large = "135m" not in self.model
        slots = len(self.seeds) * (self.ensemble.members if self.method == "ensemble" else 1)
        minutes = 30 + self.training.steps * slots // (50 if large else 20)
        return Resources(
            mem_mb=64000 if large else 6000, runtime=minutes, gpu=1 if large else 0, threads=4 if large else 1
        )

    def check(self, catalog: DatasetCatalog) -> None:
        """Raise ConfigurationError if the data set is no set of questions or has no training split of that size."""
        entry = catalog.choice_questions(self.dataset)
        if "train" not in entry.splits:
            trained = sorted(
                name for name, other in catalog.entries.items() if "train" in (getattr(other, "splits", None) or {})
            )
            raise ConfigurationError(
                f"key 'dataset': {self.dataset!r} has no training split, and the temperature needs labels",
                given=self.dataset,
                allowed=", ".join(trained),
                remedy="name it under 'evaluation.dataset' to evaluate on it",
            )
        head = {"tfb": self.width.scope, "laplace": self.laplace.scope, "laplace_kronecker": self.laplace.scope}
        if head.get(self.method) == "head" and not self.lora.head:
            raise ConfigurationError(
                "the head has no adapter to be uncertain about",
                given="scope: head with lora.head: false",
                allowed="scope: all, or lora.head: true",
            )
        # A size that the catalog does not know is null.
        available = entry.splits.get("train")
        if self.labels.budget is not None and available is not None and self.labels.budget > available:
            raise ConfigurationError(
                "key 'labels.budget': the training split is smaller",
                given=self.labels.budget,
                allowed=f"at most {available} of data set {self.dataset!r}",
            )
