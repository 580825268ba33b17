"""Seconds of the fits that follow training: a temperature, the width of TFB, and the exact Laplace approximation.

- `temperature`: Newton on cached logits, against 5,000 full-batch AdamW steps on the same logits.
- `tfb`: the search over widths on some anchors. The other side is the reference's formula, the whole training set times
  6 evaluations times 10 draws; its seconds are extrapolated from looped passes of four prompts, measured here.
- `laplace`: per-example gradients, the kernel of their products, its eigenvectors and the evidence. Seconds for the
  questions of `--laplace-goal-examples` are extrapolated when `--examples` is less: gradients grow with the questions,
  the kernel with their square, the eigenvectors with their cube.

    python benchmarks/bayesian_lora_fits.py --model FOLDER --output fits.json
    python benchmarks/bayesian_lora_fits.py --random tiny --parts laplace --examples 64
"""

import argparse
import time

import numpy as np
import torch
from bayesian_lora_prediction import looped
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

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.metrics.temperature import fit_inverse_temperature
from bayesgrid.store.manifest import peak_memory_mb
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_jacobian import answer_jacobian
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.laplace.dual import fit_dual_laplace
from bayesgrid.studies.bayesian_lora.laplace.jacobian import row_kernel
from bayesgrid.studies.bayesian_lora.methods import posterior_fit

_PARTS = ("temperature", "tfb", "laplace")
_REFERENCE_EVALUATIONS = 6
_REFERENCE_DRAWS = 10


def _drawn_nll(logits: NDArray[np.float64], answers: NDArray[np.int64], inverse_temperature: float) -> float:
    options = np.full(len(answers), logits.shape[2])
    by_draw = drawn_log_probabilities(inverse_temperature * logits, options)[:, np.arange(len(answers)), answers]
    return float(-np.log(np.exp(by_draw).mean(0)).mean())


def _adamw_temperature(logits: torch.Tensor, answers: torch.Tensor, steps: int) -> float:
    factor = torch.nn.Parameter(torch.ones(()))
    optimiser = torch.optim.AdamW([factor], lr=1e-3, weight_decay=0.0)
    rows = torch.arange(len(answers))
    for _ in range(steps):
        optimiser.zero_grad()
        by_draw = (factor * logits).log_softmax(2)[:, rows, answers]
        loss = -(by_draw.logsumexp(0) - np.log(len(logits))).mean()
        loss.backward()
        optimiser.step()
    return float(factor.detach())


def temperature(arguments: argparse.Namespace, machine: Machine) -> dict[str, object]:
    draw = np.random.default_rng(0)
    examples, labels = arguments.cached_examples, 4
    answers = draw.integers(0, labels, examples)
    # Overconfident: twice the logits from which the answers could have been drawn, and draws that differ a little.
    logits = draw.standard_normal((1, examples, labels)) + 0.3 * draw.standard_normal(
        (arguments.draws, examples, labels)
    )
    logits[:, np.arange(examples), answers] += 1.0
    logits *= 2.0
    options = np.full(examples, labels)
    tensors = torch.from_numpy(logits).float(), torch.from_numpy(answers)
    found: dict[str, float] = {}

    def newton() -> None:
        found["newton"] = fit_inverse_temperature(logits, answers, options)

    def adamw() -> None:
        found["adamw"] = _adamw_temperature(*tensors, steps=arguments.adamw_steps)

    slow = medians_in_turns({"adamw": machine.clocked(adamw)}, 1)["adamw"]
    fast = medians_in_turns({"newton": machine.clocked(newton)}, arguments.repetitions)["newton"]
    return {
        "temperature_examples": examples,
        "temperature_draws": arguments.draws,
        "newton_milliseconds": 1e3 * fast,
        "adamw_steps": arguments.adamw_steps,
        "adamw_milliseconds": 1e3 * slow,
        "ratio_newton_to_adamw": fast / slow,
        **{f"{name}_inverse_temperature": value for name, value in found.items()},
        **{f"{name}_nll": _drawn_nll(logits, answers, value) for name, value in found.items()},
    }


def _search(
    arguments: argparse.Namespace, adapted: AdaptedModel, task: AnswerTask, machine: Machine
) -> dict[str, object]:
    spec = specification(
        "tfb", [0], arguments.precision, width={"anchors": len(task), "draws": arguments.draws, "parent": "mle"}
    )
    parent = AdapterPosterior("mle", random_adapter(adapted.stack, 0, machine.device))
    starts: list[float] = []
    # Each evaluation is announced before it is made.
    with run_context(lambda _what, _done, _total: starts.append(time.perf_counter())) as context:
        started = time.perf_counter()
        fitted = posterior_fit(spec)(spec, parent, adapted, task, 0, context)
        ended = time.perf_counter()
    evaluations = np.diff([*starts, ended])
    by_hand = [parent.mean]
    some = task.rows(np.arange(min(len(task), 16)))
    one_pass = medians_in_turns(
        {"looped": machine.clocked(lambda: looped(adapted, some, by_hand, 4))}, arguments.repetitions
    )["looped"] / len(some)
    passes = len(task) * (1 + arguments.draws * len(evaluations))
    reference = arguments.reference_examples * _REFERENCE_EVALUATIONS * _REFERENCE_DRAWS
    full = passes / len(task) * arguments.goal_anchors
    return {
        "anchors": len(task),
        "anchor_draws": arguments.draws,
        "shared_prefix": task.shared_prefix,
        "width": fitted.measured["width"],
        "width_evaluations": len(evaluations),
        "search_seconds": ended - started,
        "seconds_per_evaluation": float(np.median(evaluations)),
        "prompt_passes": passes,
        "goal_anchors": arguments.goal_anchors,
        "extrapolated_search_seconds": (ended - started) * arguments.goal_anchors / len(task),
        "reference_examples": arguments.reference_examples,
        "reference_prompt_passes": reference,
        "looped_seconds_per_prompt": one_pass,
        "extrapolated_reference_seconds": one_pass * reference,
        "ratio_passes_to_reference": full / reference,
        "extrapolated_ratio_to_reference": (ended - started)
        * arguments.goal_anchors
        / len(task)
        / one_pass
        / reference,
    }


def _laplace(
    arguments: argparse.Namespace, adapted: AdaptedModel, task: AnswerTask, machine: Machine, flops: float, rate: float
) -> dict[str, object]:
    weights = random_adapter(adapted.stack, 0, machine.device)
    before = peak_memory_mb()
    marks = [time.perf_counter()]
    jacobian, logits = answer_jacobian(adapted, task, weights)
    machine.wait()
    marks.append(time.perf_counter())
    size = sum(block.nbytes for block in jacobian.values())
    kernel = row_kernel(jacobian.items(), product_type=torch.float32)
    marks.append(time.perf_counter())
    torch.linalg.eigh(kernel)
    marks.append(time.perf_counter())
    del kernel
    fitted = fit_dual_laplace(
        jacobian,
        logits,
        torch.from_numpy(task.answers),
        weights.squared_norm(),
        options=torch.from_numpy(task.options),
        overwrite=True,
        product_type=torch.float32,
    )
    marks.append(time.perf_counter())
    gradients, products, vectors, whole = np.diff(marks).tolist()
    growth = arguments.laplace_goal_examples / len(task)
    rest = max(0.0, whole - products - vectors)
    extrapolated = growth * gradients + growth**2 * (products + rest) + growth**3 * vectors
    return {
        "laplace_examples": len(task),
        "jacobian_rows": len(task) * (adapted.labels - 1),
        "jacobian_columns": weights.parameter_count(),
        "jacobian_seconds": gradients,
        "jacobian_share_of_matmul_rate": flops / gradients / rate,
        "kernel_seconds": products,
        "eigenvectors_seconds": vectors,
        "fit_seconds_with_kernel_and_eigenvectors": whole,
        "laplace_seconds": gradients + whole,
        "laplace_goal_examples": arguments.laplace_goal_examples,
        "extrapolated_laplace_seconds": extrapolated,
        "jacobian_mib": size / 2**20,
        "extrapolated_jacobian_mib": growth * size / 2**20,
        "process_peak_mib_before": before,
        "process_peak_mib": peak_memory_mb(),
        "prior_precision": fitted.precision,
        "effective_parameters": fitted.effective_parameters,
    }


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cached-examples", type=int, default=1000, help="logits that the temperature is fitted to")
    parser.add_argument("--adamw-steps", type=int, default=5000)
    parser.add_argument("--anchors", type=int, default=20)
    parser.add_argument("--goal-anchors", type=int, default=500)
    parser.add_argument("--reference-examples", type=int, default=10234, help="of Winogrande's l split")
    parser.add_argument("--examples", type=int, default=640, help="questions of the Laplace approximation")
    parser.add_argument("--laplace-goal-examples", type=int, default=640)
    arguments = parser.parse_args()
    machine, base = set_up(arguments)
    record: dict[str, object] = {}
    if "temperature" in arguments.parts:
        record |= temperature(arguments, machine)
    if {"tfb", "laplace"} & set(arguments.parts):
        task = questions(arguments, base, max(arguments.anchors, arguments.examples), labels=2)
        binary, anchors = task.rows(np.arange(arguments.examples)), task.rows(np.arange(arguments.anchors))
        parameters = linear_parameters(base.decoder)
        rate = matmul_rate(machine, base.decoder, tokens_at_once(machine.device, gradients=True))
        record |= {"tokens_per_prompt": token_count(task) / len(task), "matmul_gflops": rate / 1e9}
        spec = specification("mle", [0], arguments.precision)
        adapted = adapt_model(base, spec.lora, task.label_tokens, slots=1, device=machine.device)
        if "laplace" in arguments.parts:
            # Forward once, and backward to the states once for each difference of two logits.
            record |= _laplace(
                arguments, adapted, binary, machine, 2 * parameters * token_count(binary) * adapted.labels, rate
            )
        if "tfb" in arguments.parts:
            record |= _search(arguments, adapted, anchors, machine)
    print_record(record, arguments.output)


if __name__ == "__main__":
    main()
