"""The groups of hyperparameters of a fit, and the names of the methods that read them."""

from typing import Annotated, Literal

from pydantic import Field

from bayesgrid.grid.parameters import Parameters

__all__ = [
    "NOISY_METHODS",
    "PARENTS",
    "DropoutSpec",
    "EnsembleSpec",
    "GaussianPriorSpec",
    "IvonSpec",
    "LabelsSpec",
    "LaplaceSpec",
    "LoraSpec",
    "Method",
    "PromptSpec",
    "Scope",
    "TrainingSpec",
    "VariationalSpec",
    "WidthSpec",
]

Method = Literal[
    "zeroshot", "mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "ivon", "tfb", "laplace", "laplace_kronecker"
]
"""The methods; each is a file under ``studies/bayesian_lora/methods``."""

Scope = Literal["all", "head"]
"""Which adapters are uncertain: all of them, or that of the answer head."""

PARENTS: tuple[Method, ...] = ("tfb", "laplace", "laplace_kronecker")
"""Methods that are fitted to an adapter another method has trained."""

NOISY_METHODS: tuple[Method, ...] = ("blob", "mcdropout")
"""Methods whose predictions in ``mode: faithful`` are not those of fixed adapters."""


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
    prior_precision: Annotated[float, Field(gt=0)] | Literal["evidence", "parent"] = "evidence"
    """A value, the maximum of the marginal likelihood, or that of the prior under which the parent is a MAP."""
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
