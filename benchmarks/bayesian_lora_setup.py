"""What the benchmarks of Bayesian adapters share: base models, questions, clocks, the matmul rate and peak memory."""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.adapters.stacked import AdapterStack
from bayesgrid.data.choice_questions import ChoiceQuestion, ChoiceQuestions
from bayesgrid.models.loading import LanguageModel, load_language_model
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, answer_task
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

__all__ = [
    "Machine",
    "argument_parser",
    "linear_parameters",
    "matmul_rate",
    "medians_in_turns",
    "peak_memory",
    "print_record",
    "questions",
    "random_adapter",
    "run_context",
    "set_up",
    "specification",
    "token_count",
]

_RANDOM_MODELS: dict[str, dict[str, int]] = {
    "tiny": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4}
    | {"num_attention_heads": 4, "num_key_value_heads": 2},
    "5m": {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 5}
    | {"num_attention_heads": 4, "num_key_value_heads": 4},
    "135m": {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    | {"num_attention_heads": 9, "num_key_value_heads": 3},
}
_LETTERS = ("A", "B", "C", "D", "E")


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", type=Path, help="folder of a prepared model")
    model.add_argument("--random", choices=sorted(_RANDOM_MODELS), help="a Llama of about this size, random weights")
    parser.add_argument("--data", type=Path, help="JSONL of questions with choices; random tokens by default")
    parser.add_argument("--tokens", type=int, default=100, help="mean length of a random prompt")
    parser.add_argument("--prefix", type=int, default=40, help="tokens that all random prompts begin with")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path)
    return parser


@dataclass(frozen=True)
class Machine:
    """Where the benchmark runs."""

    device: torch.device

    def wait(self) -> None:
        """Return when everything that was started is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def clocked(self, work: Callable[[], object]) -> Callable[[], float]:
        """Return a function that does ``work`` and returns its wall seconds."""

        def clock() -> float:
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            return time.perf_counter() - started

        return clock


def set_up(arguments: argparse.Namespace) -> tuple[Machine, LanguageModel]:
    """Return the machine, whose description is printed, and a fresh base model."""
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    base = _base_model(arguments, device)
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{arguments.threads} threads"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {place}, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    )
    print(f"{base.name}, {arguments.precision}, {linear_parameters(base.decoder) / 1e6:.1f} M weights in linear layers")
    return Machine(device), base


def _base_model(arguments: argparse.Namespace, device: torch.device) -> LanguageModel:
    if arguments.model is not None:
        folder: Path = arguments.model
        return load_language_model(folder, name=folder.name, revision="0", precision=arguments.precision, device=device)
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = _RANDOM_MODELS[arguments.random]
    torch.manual_seed(0)
    whole: Any = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))  # type: ignore[arg-type]
    whole = whole.to(device, getattr(torch, arguments.precision)).eval().requires_grad_(requires_grad=False)
    return LanguageModel(
        name=f"random {arguments.random}",
        revision="0",
        folder=Path(),
        decoder=whole.model,
        head_weight=whole.lm_head.weight,
        tokenizer=None,
        hidden_size=sizes["hidden_size"],
        precision=arguments.precision,
    )


def questions(
    arguments: argparse.Namespace, base: LanguageModel, count: int, *, labels: int = 4, seed: int = 0
) -> AnswerTask:
    """Return ``count`` questions, the same for the same arguments: of ``--data``, or of random tokens."""
    if arguments.data is not None:
        return _real_questions(arguments.data, base, count)
    draw = np.random.default_rng(seed)
    vocabulary = len(base.head_weight)
    beginning = np.random.default_rng(99).integers(labels, vocabulary, arguments.prefix)
    spread = (arguments.tokens - arguments.prefix) // 4
    lengths = draw.integers(arguments.tokens - spread, arguments.tokens + spread + 1, count) - arguments.prefix
    return AnswerTask(
        questions=tuple(f"question-{row}" for row in range(count)),
        prompts=tuple(np.concatenate([beginning, draw.integers(labels, vocabulary, length)]) for length in lengths),
        shared_prefix=arguments.prefix,
        answers=draw.integers(0, labels, count),
        options=np.full(count, labels, dtype=np.int64),
        labels=_LETTERS[:labels],
        label_tokens=tuple(range(labels)),
    )


def _real_questions(path: Path, base: LanguageModel, count: int) -> AnswerTask:
    if base.tokenizer is None:
        raise SystemExit("--data needs a model with a tokenizer: --model FOLDER")
    found: list[ChoiceQuestion] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        texts, names = entry["choices"]["text"], entry["choices"]["label"]
        if len(texts) > len(_LETTERS) or entry["answerKey"] not in names:
            continue
        stem = entry.get("question", entry.get("question_stem"))
        found.append(ChoiceQuestion(str(entry["id"]), stem, tuple(texts), names.index(entry["answerKey"])))
    widest = max(len(question.options) for question in found[:count])
    data = ChoiceQuestions(
        name=path.stem,
        data_version="0",
        labels=_LETTERS[:widest],
        template="lettered_choices",
        splits={"train": tuple(found[:count])},
        folder=None,
    )
    return answer_task(data, "train", base.tokenizer, "instruct" if base.tokenizer.chat_template else "base")


def specification(method: str, seeds: list[int], precision: str, **groups: object) -> FitSpec:
    values = {"model": "benchmark", "dataset": "benchmark", "seeds": seeds, "precision": precision, "method": method}
    return FitSpec.from_parameters({**values, **groups}, where="benchmark")


def random_adapter(stack: AdapterStack, seed: int, device: torch.device, size: float = 0.02) -> AdapterWeights:
    """Return an adapter as training could have left it: no factor is zero."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor) -> Tensor:
        return (size * torch.randn(like.shape[1:], generator=generator)).to(device)

    pairs = {path: LowRankPair(drawn(layer.a), drawn(layer.b)) for path, layer in stack.layers.items()}
    return AdapterWeights(pairs, stack.scaling)


@contextmanager
def run_context(report: Callable[[str, int, int], None] = lambda _what, _done, _total: None) -> Iterator[RunContext]:
    """Give a context whose files vanish, so that no run continues another."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        store = CheckpointStore(state / "checkpoints", "benchmark")
        yield RunContext("benchmark", state, Tracker(state / "tracking"), store, report)


def medians_in_turns(sides: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, float]:
    """Return the median of what each side measures, all sides in turns and the first turn thrown away."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(repetitions + 1):
        for name, measure in sides.items():
            value = measure()
            if repetition > 0:
                found[name].append(value)
    return {name: float(np.median(values)) for name, values in found.items()}


def linear_parameters(decoder: nn.Module) -> int:
    """Return P, the number of weights that a token is multiplied with: those of the linear layers."""
    return sum(module.weight.numel() for module in decoder.modules() if isinstance(module, nn.Linear))


@torch.no_grad()
def matmul_rate(machine: Machine, decoder: nn.Module, tokens: int, repetitions: int = 5) -> float:
    """Return the FLOP/s of the decoder's own linear layers, one after the other, on ``tokens`` rows: 2 P per token."""
    layers = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    inputs = {layer.in_features: torch.randn(tokens, layer.in_features).to(layer.weight) for layer in layers}

    def work() -> None:
        for layer in layers:
            layer(inputs[layer.in_features])

    seconds = medians_in_turns({"matmul": machine.clocked(work)}, repetitions)["matmul"]
    return 2 * linear_parameters(decoder) * tokens / seconds


def token_count(task: AnswerTask) -> int:
    """Return the number of tokens in all prompts, padding left out."""
    return sum(len(prompt) for prompt in task.prompts)


def peak_memory(machine: Machine, work: Callable[[], object]) -> int:
    """Return by how many bytes the tensors alive at once during ``work`` exceed those alive before."""
    if machine.device.type == "cuda":
        machine.wait()
        torch.cuda.reset_peak_memory_stats(machine.device)
        before = torch.cuda.memory_allocated(machine.device)
        work()
        machine.wait()
        return torch.cuda.max_memory_allocated(machine.device) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiled:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    return max(0, int(np.cumsum([0, *(change for _, change in changes)]).max()))


def print_record(record: Mapping[str, object], output: Path | None) -> None:
    """Print one value a line, and write all to ``output``."""
    width = max(map(len, record)) + 2
    for key, value in record.items():
        print(f"{key:{width}s}{value:.6g}" if isinstance(value, float) else f"{key:{width}s}{value}")
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
