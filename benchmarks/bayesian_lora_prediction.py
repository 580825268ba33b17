"""Seconds to answer with ten draws of an adapter posterior in one batch, against one looped pass for each draw.

The looped side goes through the prompts four at a time, draw after draw, as the reference does, but with the same
layers and the same fixed draws, so that both sides must give the same logits. Beside it: looped passes with as many
rows as ours, the stacked side with the prompts' common beginning computed once for every draw, and draws of the answer
head alone against a single pass.

A share of the matmul rate is 2 P FLOPs for every token that is computed, over what the linear layers alone reach in
this process. Memory is that of tensors, beyond weights, while the largest batch is answered.

    python benchmarks/bayesian_lora_prediction.py --model FOLDER --output prediction.json
"""

from dataclasses import replace

import numpy as np
import torch
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
from numpy.typing import NDArray

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.models.prompt_tokens import length_buckets
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.prediction import predict

_LOOPED_ROWS = 4


@torch.no_grad()
def looped(adapted: AdaptedModel, task: AnswerTask, weights: list[AdapterWeights], rows: int) -> NDArray[np.float32]:
    """Return what :func:`predict` does, one pass for each draw and ``rows`` whole prompts."""
    logits = np.empty((len(weights), len(task), adapted.labels), dtype=np.float32)
    adapted.stack.resize(1)
    for draw, one in enumerate(weights):
        adapted.stack.load(0, one)
        for chosen in length_buckets([len(prompt) for prompt in task.prompts], rows):
            batch = prompt_batch([task.prompts[row] for row in chosen], 0, device=adapted.device)
            logits[draw, chosen] = adapted.model.logits(batch).cpu().numpy()
    return logits


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--head-draws", type=int, default=100)
    arguments = parser.parse_args()
    machine, base = set_up(arguments)
    task = questions(arguments, base, arguments.prompts)
    whole = replace(task, shared_prefix=0)
    spec = specification("blob", [0], arguments.precision)
    parameters = linear_parameters(base.decoder)
    mean_tokens = token_count(task) // len(task)
    looped_rate = matmul_rate(machine, base.decoder, _LOOPED_ROWS * mean_tokens)
    questions_together = max(1, tokens_at_once(machine.device) // (arguments.draws * mean_tokens))
    stacked_rows = questions_together * arguments.draws
    stacked_rate = matmul_rate(machine, base.decoder, min(stacked_rows, arguments.draws * len(task)) * mean_tokens)
    rate = max(looped_rate, stacked_rate)

    adapted = adapt_model(base, spec.lora, task.label_tokens, slots=1, device=machine.device)
    mean = random_adapter(adapted.stack, 0, machine.device)
    deviations = {f"{name}.standard_deviation": torch.full_like(pair.a, 0.02) for name, pair in mean.pairs.items()}
    posterior = AdapterPosterior("blob", mean, deviations)
    drawn = list(draw_adapters(posterior, range(arguments.draws), seed=0))
    heads = list(draw_adapters(posterior, range(arguments.head_draws), seed=0, scope="head"))
    answers = {
        "looped": lambda: looped(adapted, whole, drawn, _LOOPED_ROWS),
        "looped_as_wide": lambda: looped(adapted, whole, drawn, stacked_rows),
        "stacked": lambda: predict(adapted, whole, drawn),
        "stacked_prefix": lambda: predict(adapted, task, drawn),
        "one_pass": lambda: predict(adapted, task, [mean]),
        "head_draws": lambda: predict(adapted, task, heads),
    }
    expected = answers["looped"]()
    differences = {name: float(np.abs(answers[name]() - expected).max()) for name in ("stacked", "stacked_prefix")}
    few = np.arange(min(2, len(heads)))
    by_head = looped(adapted, whole, [heads[place] for place in few], _LOOPED_ROWS)
    differences["head_draws"] = float(np.abs(answers["head_draws"]()[few] - by_head).max())
    seconds = medians_in_turns({name: machine.clocked(work) for name, work in answers.items()}, arguments.repetitions)

    longest = length_buckets([len(prompt) for prompt in task.prompts], _LOOPED_ROWS)[-1]
    one_batch = whole.rows(longest)
    memory = {
        "looped": peak_memory(machine, lambda: looped(adapted, one_batch, drawn[:1], _LOOPED_ROWS)),
        "stacked": peak_memory(machine, lambda: predict(adapted, one_batch, drawn)),
        "stacked_prefix": peak_memory(machine, lambda: predict(adapted, task.rows(longest), drawn)),
    }
    tokens = arguments.draws * token_count(task)
    computed = {"looped": tokens, "looped_as_wide": tokens, "stacked": tokens}
    computed["stacked_prefix"] = tokens - arguments.draws * task.shared_prefix * (len(task) - 1)
    record: dict[str, object] = {
        "prompts": len(task),
        "draws": arguments.draws,
        "head_draws": arguments.head_draws,
        "tokens_per_prompt": token_count(task) / len(task),
        "shared_prefix": task.shared_prefix,
        "matmul_gflops_looped_shape": looped_rate / 1e9,
        "matmul_gflops_stacked_shape": stacked_rate / 1e9,
        **{f"{name}_seconds": value for name, value in seconds.items()},
        **{f"{name}_tokens_per_second": tokens / seconds[name] for name in computed},
        **{
            f"{name}_share_of_matmul_rate": 2 * parameters * count / seconds[name] / rate
            for name, count in computed.items()
        },
        "ratio_stacked_to_looped": seconds["stacked"] / seconds["looped"],
        "ratio_stacked_to_looped_as_wide": seconds["stacked"] / seconds["looped_as_wide"],
        "ratio_stacked_prefix_to_looped": seconds["stacked_prefix"] / seconds["looped"],
        "ratio_head_draws_to_one_pass": seconds["head_draws"] / seconds["one_pass"],
        "largest_logit": float(np.abs(expected).max()),
        **{f"{name}_largest_difference": value for name, value in differences.items()},
        **{f"{name}_peak_mib": value / 2**20 for name, value in memory.items()},
        **{
            f"ratio_{name}_peak_to_draws_times_looped": memory[name] / (arguments.draws * memory["looped"])
            for name in ("stacked", "stacked_prefix")
        },
    }
    print_record(record, arguments.output)


if __name__ == "__main__":
    main()
