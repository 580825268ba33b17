"""Seconds of a training step: variational methods against maximum likelihood, and stacked seeds against one by one.

All sides are the same training loop on the same stacked layers. The methods are timed with one seed each, with and
without the prompts' common beginning computed once; BLoB's flipout gives every prompt weights of its own and so shares
nothing, which the column `blob_one_draw` (one draw for a batch, as ScalaBL has it) does not. Seeds: one stack, against
a run for each, with the losses of all steps and the gradients of one batch compared.

    python benchmarks/bayesian_lora_training.py --model FOLDER --output training.json
    python benchmarks/bayesian_lora_training.py --random 5m
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from bayesian_lora_setup import (
    Machine,
    argument_parser,
    linear_parameters,
    matmul_rate,
    medians_in_turns,
    print_record,
    questions,
    random_adapter,
    run_context,
    set_up,
    specification,
    token_count,
)
from numpy.typing import NDArray
from torch import Tensor

from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods import trained_method
from bayesgrid.studies.bayesian_lora.training import answer_losses, train

_METHODS = {
    "mle": ("mle", "per_example"),
    "blob": ("blob", "per_example"),
    "blob_one_draw": ("blob", "none"),
    "scalabl": ("scalabl", "per_example"),
}


def trained(
    machine: Machine, spec: FitSpec, adapted: AdaptedModel, task: AnswerTask
) -> tuple[float, NDArray[np.float32]]:
    """Return the median seconds of a step, the first one left out, and the losses ``[steps, K]``."""
    ends: list[float] = []

    def report(what: str, _done: int, _total: int) -> None:
        if what == "training":
            machine.wait()
            ends.append(time.perf_counter())

    kind = trained_method(spec)
    adapted.stack.resize(len(spec.seeds))
    method = kind(spec, adapted.stack, kind.slots_of(spec), len(task))
    with run_context(report) as context:
        history = train(spec, method, adapted, task, task, context)
    for layer in adapted.stack.layers.values():
        layer.projection = None
    return float(np.median(np.diff(ends))), history.losses


def gradients(adapted: AdaptedModel, task: AnswerTask, slots: list[int], machine: Machine, batch: int) -> list[Tensor]:
    """Return the gradients of the loss of each slot's own prompts and adapter, every one ``[K, ...]``."""
    adapted.stack.resize(len(slots))
    for place, slot in enumerate(slots):
        adapted.stack.load(place, random_adapter(adapted.stack, slot, machine.device))
    rows = np.concatenate([(np.arange(batch) + slot * batch) % len(task) for slot in slots])
    prompts = prompt_batch([task.prompts[row] for row in rows], task.shared_prefix, device=machine.device)
    answers, options = (torch.from_numpy(values[rows]).to(machine.device) for values in (task.answers, task.options))
    losses = answer_losses(adapted.model.logits(prompts, len(slots)), answers, options)
    means = losses.reshape(len(slots), -1).mean(1)
    return list(torch.autograd.grad(means.sum(), adapted.stack.parameters()))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="of every repetition; the first is not timed")
    parser.add_argument("--prompts", type=int, default=64)
    arguments = parser.parse_args()
    machine, base = set_up(arguments)
    task = questions(arguments, base, arguments.prompts)
    whole = replace(task, shared_prefix=0)
    training = {"steps": arguments.steps, "batch_size": arguments.batch_size}
    seeds = list(range(arguments.seeds))

    def spec(name: str, seeds: list[int]) -> FitSpec:
        method, flipout = _METHODS[name]
        variational = {"variational": {"flipout": flipout}} if method != "mle" else {}
        return specification(method, seeds, arguments.precision, training=training, **variational)

    parameters = linear_parameters(base.decoder)
    step_tokens = arguments.batch_size * token_count(task) // len(task)
    rate = max(matmul_rate(machine, base.decoder, count * step_tokens) for count in (1, arguments.seeds))
    adapted = adapt_model(base, spec("mle", [0]).lora, task.label_tokens, slots=1, device=machine.device)
    alone_losses: dict[int, NDArray[np.float32]] = {}
    stacked_losses: list[NDArray[np.float32]] = []

    def method_step(name: str, asked: AnswerTask) -> Callable[[], float]:
        return lambda: trained(machine, spec(name, [0]), adapted, asked)[0]

    def one_by_one() -> float:
        total = 0.0
        for seed in seeds:
            seconds, alone_losses[seed] = trained(machine, spec("mle", [seed]), adapted, whole)
            total += seconds
        return total

    def stacked() -> float:
        seconds, losses = trained(machine, spec("mle", seeds), adapted, whole)
        stacked_losses[:] = [losses]
        return seconds

    def stacked_prefix() -> float:
        return trained(machine, spec("mle", seeds), adapted, task)[0]

    methods = {name: method_step(name, whole) for name in _METHODS}
    methods |= {f"{name}_prefix": method_step(name, task) for name in _METHODS}
    seconds = medians_in_turns(
        {**methods, "one_by_one": one_by_one, "stacked": stacked, "stacked_prefix": stacked_prefix},
        arguments.repetitions,
    )

    together = gradients(adapted, whole, seeds, machine, arguments.batch_size)
    shared = gradients(adapted, task, seeds, machine, arguments.batch_size)
    alone = [gradients(adapted, whole, [seed], machine, arguments.batch_size) for seed in seeds]
    single = [torch.cat(parts) for parts in zip(*alone, strict=True)]
    largest = max(float(one.abs().max()) for one in single)
    losses_alone = np.concatenate([alone_losses[seed] for seed in seeds], axis=1)
    # Forward, and backward to the states alone, for the frozen weights.
    flops = 4 * parameters * step_tokens

    def difference(found: list[Tensor]) -> float:
        return max(float((one - other).abs().max()) for one, other in zip(found, single, strict=True)) / largest

    record: dict[str, object] = {
        "seeds": arguments.seeds,
        "batch_size": arguments.batch_size,
        "tokens_per_prompt": token_count(task) / len(task),
        "shared_prefix": task.shared_prefix,
        "matmul_gflops": rate / 1e9,
        **{f"{name}_step_seconds": value for name, value in seconds.items()},
        "mle_tokens_per_second": step_tokens / seconds["mle"],
        "stacked_tokens_per_second": arguments.seeds * step_tokens / seconds["stacked"],
        "mle_share_of_matmul_rate": flops / seconds["mle"] / rate,
        "stacked_share_of_matmul_rate": arguments.seeds * flops / seconds["stacked"] / rate,
        **{f"ratio_{name}_to_mle": seconds[name] / seconds["mle"] for name in _METHODS if name != "mle"},
        **{
            f"ratio_{name}_to_mle_prefix": seconds[f"{name}_prefix"] / seconds["mle_prefix"]
            for name in _METHODS
            if name != "mle"
        },
        "ratio_mle_prefix_to_mle": seconds["mle_prefix"] / seconds["mle"],
        "ratio_stacked_to_one_by_one": seconds["stacked"] / seconds["one_by_one"],
        "ratio_stacked_prefix_to_one_by_one": seconds["stacked_prefix"] / seconds["one_by_one"],
        "largest_difference_of_losses": float(np.abs(stacked_losses[0] - losses_alone).max()),
        "largest_gradient": largest,
        "relative_difference_of_gradients": difference(together),
        "relative_difference_of_gradients_prefix": difference(shared),
    }
    print_record(record, arguments.output)


if __name__ == "__main__":
    main()
