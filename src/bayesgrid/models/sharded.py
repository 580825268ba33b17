"""A base that does not fit one card, its weights shared out over processes by DeepSpeed's ZeRO stage 3.

The frozen base is stored in parts, one per process, and gathered layer by layer while it computes; the adapters, the
only parameters with a gradient, are trained on all rows together (Rajbhandari et al., ZeRO, 2020). Start the processes
with ``torchrun``, one per card, and in each, in this order: :func:`join_processes`, :func:`loaded_in_parts` around
``load_language_model``, the adapters, :class:`ShardedTraining`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bayesgrid.errors import ConfigurationError, StateError

__all__ = ["ShardedTraining", "join_processes", "loaded_in_parts", "sharding_configuration", "whole_tensor"]

_STAGE = 3


def join_processes(device_type: str) -> torch.device:
    """Join the processes that ``torchrun`` started, and return the device of this one.

    Args:
        device_type: ``cuda`` or ``cpu``.

    Raises:
        ConfigurationError: if DeepSpeed is not installed, or the process was not started by ``torchrun``.
    """
    if "LOCAL_RANK" not in os.environ:
        raise ConfigurationError(
            "the process belongs to no group of processes", remedy="start it with `torchrun --nproc-per-node=<cards>`"
        )
    if device_type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    deepspeed = _deepspeed()
    if device_type == "cpu":
        # Its collective operations in shared memory would be compiled now, for a minute; gloo's do as well.
        import deepspeed.ops as operations

        operations.__compatible_ops__["deepspeed_shm_comm"] = False
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # Before any model is built, since its parts depend on how many processes there are.
    deepspeed.init_distributed(dist_backend="gloo" if device_type == "cpu" else "nccl", verbose=False)
    return device


def sharding_configuration(
    path: Path, *, rows: int, accumulation: int = 1, precision: str = "float32"
) -> dict[str, Any]:
    """Return the DeepSpeed configuration in the file ``path``, completed for one run.

    Args:
        path: JSON, such as ``config/deepspeed/zero3.json``, without batch sizes and precision.
        rows: of one process in one forward pass.
        accumulation: forward passes per optimiser step.
        precision: ``float32``, or ``bfloat16`` with optimiser and master weights in float32.

    Raises:
        ConfigurationError: if the file cannot be read, is not for stage 3, or sets what the run decides; or the
            precision is another one.
    """
    if precision not in ("float32", "bfloat16"):
        raise ConfigurationError("a base in parts cannot be quantised", given=precision, allowed="float32, bfloat16")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the DeepSpeed configuration cannot be read: {error}", where=str(path)) from error
    stage = content.get("zero_optimization", {}).get("stage") if isinstance(content, dict) else None
    if stage != _STAGE:
        raise ConfigurationError(
            "the DeepSpeed configuration is not for a base in parts",
            where=f"{path}, key 'zero_optimization.stage'",
            given=stage,
            allowed=_STAGE,
        )
    decided = {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": accumulation,
        "bf16": {"enabled": precision == "bfloat16"},
    }
    twice = sorted({*decided, "train_batch_size", "fp16", "optimizer", "scheduler"} & set(content))
    if twice:
        raise ConfigurationError(
            "the run decides this, not the DeepSpeed configuration", where=str(path), given=", ".join(twice)
        )
    return {**content, **decided}


@contextmanager
def loaded_in_parts(configuration: Mapping[str, Any]) -> Iterator[None]:
    """Let every process keep only its part of the models that are loaded inside, from the first byte on."""
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    # Transformers holds a weak reference to it only.
    held = HfDeepSpeedConfig(dict(configuration))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        del held


def whole_tensor(parameter: Tensor) -> Tensor:
    """Return a copy of ``parameter`` in full, or the parameter itself, detached, where it is not in parts.

    All processes must ask for it at the same time.
    """
    if not hasattr(parameter, "ds_id"):
        return parameter.detach()
    with _deepspeed().zero.GatheredParameters([parameter]):
        return parameter.detach().clone()


class ShardedTraining:
    """A module whose trainable parameters are updated on the rows of all processes, and whose frozen ones lie in parts.

    Each process calls it with its own rows, all processes with equally many; a loss that is a mean over rows then has
    the gradient of the mean over all of them.

    Args:
        module: base and adapters; what it returns is up to the caller.
        optimiser: over the trainable parameters of ``module``.
        configuration: of :func:`sharding_configuration`.

    Raises:
        StateError: if nothing in the module is trainable.
    """

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, configuration: Mapping[str, Any]) -> None:
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not trainable:
            raise StateError("no parameter of the module is trainable", remedy="add adapters before sharing it out")
        self._module = module
        self._engine: Any = _deepspeed().initialize(
            model=module, model_parameters=trainable, optimizer=optimiser, config=dict(configuration)
        )[0]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return what the module returns for this process's rows."""
        return self._engine(*arguments, **named)

    def step(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``, and update the parameters once all accumulated passes are in."""
        self._engine.backward(loss)
        self._engine.step()

    def trained(self) -> dict[str, Tensor]:
        """Return whole copies of the trainable parameters by name, in main memory and float32, in every process."""
        return {
            name: whole_tensor(parameter).float().cpu()
            for name, parameter in self._module.named_parameters()
            if parameter.requires_grad
        }


def _deepspeed() -> Any:
    try:
        import deepspeed
    except ImportError:
        raise ConfigurationError(
            "a base in parts needs the package deepspeed, which is not installed",
            remedy="install it, or choose a base that fits one device",
        ) from None
    return cast(Any, deepspeed)
