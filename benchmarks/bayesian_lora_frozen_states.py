"""Seconds of a training step with the states below the adapters computed once, against the whole model every step.

Adapters sit on the upper blocks alone; both sides train the same ones in the same loop from the same start, so the
losses must be the same. The whole side still needs no gradient below the adapters. Beside it the cost of the states,
after how many steps they have paid for themselves, and one prediction with either.

    python benchmarks/bayesian_lora_frozen_states.py --model FOLDER --output frozen_states.json
"""

import argparse
from dataclasses import replace
from functools import partial

import numpy as np
from bayesian_lora_setup import (
    argument_parser,
    linear_parameters,
    matmul_rate,
    medians_in_turns,
    peak_memory,
    print_record,
    questions,
    random_adapter,
    set_up,
    specification,
    token_count,
)
from bayesian_lora_training import trained
from numpy.typing import NDArray

from bayesgrid.models.answer_model import AnswerModel
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model
from bayesgrid.studies.bayesian_lora.prediction import predict


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--top-blocks", type=int, default=6)
    parser.add_argument("--method", default="mle", choices=["mle", "blob", "scalabl"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="of every repetition; the first is not timed")
    parser.add_argument("--prompts", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    machine, base = set_up(arguments)
    task = replace(questions(arguments, base, arguments.prompts), shared_prefix=0)
    depth, parameters = len(base.decoder.layers), linear_parameters(base.decoder)  # type: ignore[arg-type]
    rate = matmul_rate(machine, base.decoder, arguments.seeds * arguments.batch_size * token_count(task) // len(task))
    spec = specification(
        arguments.method,
        list(range(arguments.seeds)),
        arguments.precision,
        lora={"top_blocks": arguments.top_blocks},
        training={"steps": arguments.steps, "batch_size": arguments.batch_size},
    )
    whole_decoder = base.decoder
    upper = adapt_model(base, spec.lora, task.label_tokens, slots=1, device=machine.device)
    # The whole decoder holds the same stacked layers.
    whole = AdaptedModel(AnswerModel(whole_decoder, upper.model.head), upper.stack, None, base, machine.device)
    once = medians_in_turns({"states": machine.clocked(lambda: upper.prepared(task))}, 1)["states"]
    states = upper.prepared(task)
    losses: dict[str, NDArray[np.float32]] = {}

    def step(name: str) -> float:
        adapted, asked = (upper, states) if name == "kept" else (whole, task)
        seconds, losses[name] = trained(machine, spec, adapted, asked)
        return seconds

    sides = {name: partial(step, name) for name in ("whole", "kept")}
    seconds = medians_in_turns(sides, arguments.repetitions)
    weights = [random_adapter(upper.stack, 0, machine.device)]
    answers = {"whole": lambda: predict(whole, task, weights), "kept": lambda: predict(upper, states, weights)}
    difference = float(np.abs(answers["whole"]() - answers["kept"]()).max())
    largest = float(np.abs(answers["whole"]()).max())
    predicted = medians_in_turns({name: machine.clocked(work) for name, work in answers.items()}, arguments.repetitions)
    memory = {name: peak_memory(machine, side) for name, side in sides.items()}

    step_tokens = arguments.seeds * arguments.batch_size * token_count(task) / len(task)
    share = arguments.top_blocks / depth
    flops = {"whole": (2 + 2 * share) * parameters * step_tokens, "kept": 4 * share * parameters * step_tokens}
    saved = seconds["whole"] - seconds["kept"]
    record: dict[str, object] = {
        "blocks": depth,
        "adapted_blocks": arguments.top_blocks,
        "method": arguments.method,
        "seeds": arguments.seeds,
        "prompts": len(task),
        "tokens_per_prompt": token_count(task) / len(task),
        "matmul_gflops": rate / 1e9,
        **{f"{name}_step_seconds": value for name, value in seconds.items()},
        **{f"{name}_share_of_matmul_rate": flops[name] / value / rate for name, value in seconds.items()},
        **{f"{name}_step_peak_mib": value / 2**20 for name, value in memory.items()},
        "ratio_kept_to_whole": seconds["kept"] / seconds["whole"],
        "ratio_by_operations": flops["kept"] / flops["whole"],
        "states_seconds": once,
        "states_mib": sum(prompt.nbytes for prompt in states.prompts) / 2**20,
        "steps_until_paid": once / saved if saved > 0 else float("inf"),
        **{f"{name}_prediction_seconds": value for name, value in predicted.items()},
        "ratio_prediction_kept_to_whole": predicted["kept"] / predicted["whole"],
        "largest_difference_of_losses": float(np.abs(losses["whole"] - losses["kept"]).max()),
        "largest_logit": largest,
        "largest_difference_of_logits": difference,
    }
    print_record(record, arguments.output)


if __name__ == "__main__":
    main()
