import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.sharded import (
    gathered_while_computing,
    join_processes,
    sharding_configuration,
    whole_tensor,
)

CONFIGURATIONS = Path(__file__).parents[3] / "config" / "deepspeed"

PROGRAM = """
import json, sys
from pathlib import Path
import torch
from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.models.loading import load_language_model
from bayesgrid.studies.bayesian_lora.adapted_model import adapt_model
from bayesgrid.studies.bayesian_lora.fit_parameters import LoraSpec

mode, folder, configuration_file, out = sys.argv[1:]


def load(device):
    return load_language_model(Path(folder), name="tiny", revision="r", precision="float32", device=device)


rank = 0
if mode == "alone":
    base = load(torch.device("cpu"))
else:
    from bayesgrid.models.sharded import (
        gathered_while_computing, join_processes, loaded_in_parts, sharding_configuration
    )

    device = join_processes("cpu")
    rank = torch.distributed.get_rank()
    configuration = sharding_configuration(Path(configuration_file), rows=1)
    with loaded_in_parts(configuration):
        base = load(device)
    assert base.decoder.layers[0].mlp.up_proj.weight.numel() == 0, "the base is not in parts"
    held_by = gathered_while_computing(base.decoder, configuration)
held = sum(getattr(p, "ds_tensor", p).numel() for p in base.decoder.parameters())

adapted = adapt_model(base, LoraSpec(rank=4, alpha=8.0), (30, 31, 32), slots=2, device=torch.device("cpu"))
for slot in range(2):
    adapted.stack.reset(slot, slot)
optimiser = torch.optim.AdamW(adapted.stack.parameters(), lr=1e-2)
losses = []
for step in range(6):
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(10, 300, (4, 9), generator=generator)
    ids[:, :3] = torch.tensor([5, 6, 7])
    answers = torch.randint(3, (4,), generator=generator)
    batch = prompt_batch([row[: 9 - k].numpy() for k, row in enumerate(ids)], 3, device=torch.device("cpu"))
    loss = torch.nn.functional.cross_entropy(adapted.model.logits(batch, 2), answers)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
with torch.no_grad():
    logits = adapted.model.logits(batch, 2)
if mode != "alone":
    assert base.decoder.layers[0].mlp.up_proj.weight.numel() == 0, "a layer was not given back"
if rank == 0:
    from safetensors.torch import save_file

    factors = {str(k): factor.detach().contiguous() for k, factor in enumerate(adapted.stack.parameters())}
    save_file({**factors, "logits": logits}, out + ".safetensors")
    Path(out).write_text(json.dumps({"losses": losses, "held": held}))
"""


@pytest.fixture
def everything_in_parts(tmp_path):
    """A configuration by which even the smallest layers are divided, and given back after use."""
    content = json.loads((CONFIGURATIONS / "zero3.json").read_text())
    content["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    path = tmp_path / "zero3.json"
    path.write_text(json.dumps(content))
    return path


def run(mode, processes, folder, configuration, out):
    program = out.parent / "train.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    launcher = (
        [] if mode == "alone" else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    )
    command = [sys.executable, *launcher, str(program), mode, str(folder), str(configuration), str(out)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr[-3000:]
    return json.loads(out.read_text())


def test_two_processes_with_half_of_the_base_each_train_and_answer_as_one_does(
    tiny_model_folder, everything_in_parts, tmp_path
):
    pytest.importorskip("deepspeed")
    from safetensors.torch import load_file

    folder = tiny_model_folder("qwen3")
    alone = run("alone", 1, folder, everything_in_parts, tmp_path / "alone")
    shared = run("shared", 2, folder, everything_in_parts, tmp_path / "shared")
    assert shared["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert max(alone["losses"]) - min(alone["losses"]) > 1e-2
    # Up to the padding that makes every tensor divisible.
    assert shared["held"] < 0.55 * alone["held"]
    wanted, found = load_file(tmp_path / "alone.safetensors"), load_file(tmp_path / "shared.safetensors")
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_decoder_that_is_trained_itself_is_refused():
    with pytest.raises(StateError, match="frozen"):
        gathered_while_computing(torch.nn.Linear(2, 2), {})


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.json")), ids=lambda path: path.stem)
def test_configurations_of_the_repository_are_accepted_by_deepspeed(path, monkeypatch):
    config = pytest.importorskip("deepspeed.runtime.config")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    made = config.DeepSpeedConfig(sharding_configuration(path, rows=2, accumulation=3, precision="bfloat16"))
    assert made.zero_config.stage == 3
    assert (made.train_micro_batch_size_per_gpu, made.gradient_accumulation_steps) == (2, 3)
    assert made.bfloat16_config.enabled


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "not for a base in parts"),
        ('{"zero_optimization": {"stage": 2}}', "given: 2; allowed: 3"),
        ('{"zero_optimization": {"stage": 3}, "train_batch_size": 8}', "given: train_batch_size"),
    ],
)
def test_configuration_that_does_not_do_is_refused(tmp_path, content, words):
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        sharding_configuration(path, rows=1)
    assert str(path) in str(caught.value)


def test_quantised_base_cannot_lie_in_parts():
    with pytest.raises(ConfigurationError, match="cannot be quantised"):
        sharding_configuration(CONFIGURATIONS / "zero3.json", rows=1, precision="nf4")


def test_process_that_torchrun_did_not_start_is_told_how(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigurationError, match="torchrun"):
        join_processes("cpu")


def test_tensor_that_is_not_in_parts_is_returned_itself():
    parameter = torch.nn.Parameter(torch.ones(3))
    assert whole_tensor(parameter).data_ptr() == parameter.data_ptr()
