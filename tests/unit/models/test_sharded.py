import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bayesgrid.errors import ConfigurationError
from bayesgrid.models.sharded import join_processes, sharding_configuration, whole_tensor

CONFIGURATIONS = Path(__file__).parents[3] / "config" / "deepspeed"

PROGRAM = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from bayesgrid.models.loading import load_language_model

mode, folder, configuration_file, out = sys.argv[1:]
STEPS, ROWS = 6, 4


class Lora(nn.Module):
    def __init__(self, base, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.base = base
        self.a = nn.Parameter(torch.randn(4, base.in_features, generator=generator) * 0.1)
        self.b = nn.Parameter(torch.randn(base.out_features, 4, generator=generator) * 0.1)

    def forward(self, inputs):
        return self.base(inputs) + inputs @ self.a.T @ self.b.T


class Classifier(nn.Module):
    def __init__(self, model):
        super().__init__()
        for index, layer in enumerate(model.decoder.layers):
            layer.self_attn.q_proj = Lora(layer.self_attn.q_proj, 10 + index)
            layer.self_attn.v_proj = Lora(layer.self_attn.v_proj, 20 + index)
        self.decoder = model.decoder
        self.register_buffer("head", model.head_weight[[30, 31, 32]].clone())

    def forward(self, ids):
        return self.decoder(input_ids=ids).last_hidden_state[:, -1] @ self.head.T


def rows(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randint(10, 300, (ROWS, 7), generator=generator), torch.randint(3, (ROWS,), generator=generator)


def load(device):
    return load_language_model(
        Path(folder), name="tiny", revision="r", precision="float32", device=device
    )


losses = []
if mode == "alone":
    module = Classifier(load(torch.device("cpu")))
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trainable.values(), lr=1e-2)
    for step in range(STEPS):
        ids, answers = rows(step)
        loss = nn.functional.cross_entropy(module(ids), answers)
        optimiser.zero_grad(); loss.backward(); optimiser.step()
        losses.append(loss.item())
    trained = {n: p.detach() for n, p in trainable.items()}
    rank, held = 0, sum(p.numel() for p in module.parameters())
else:
    from bayesgrid.models.sharded import ShardedTraining, join_processes, loaded_in_parts, sharding_configuration

    device = join_processes("cpu")
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    configuration = sharding_configuration(Path(configuration_file), rows=ROWS // world)
    with loaded_in_parts(configuration):
        model = load(device)
    assert model.decoder.layers[0].mlp.up_proj.weight.numel() == 0, "the base is not in parts"
    module = Classifier(model)
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    training = ShardedTraining(module, optimiser, configuration)
    for step in range(STEPS):
        ids, answers = (part.chunk(world)[rank] for part in rows(step))
        loss = nn.functional.cross_entropy(training(ids), answers)
        training.step(loss)
        total = loss.detach().clone()
        torch.distributed.all_reduce(total)
        losses.append(total.item() / world)
    trained = training.trained()
    held = sum(p.ds_tensor.numel() for p in module.parameters())
if rank == 0:
    from safetensors.torch import save_file

    save_file({n: t.contiguous() for n, t in trained.items()}, out + ".safetensors")
    Path(out).write_text(json.dumps({"losses": losses, "held": held}))
"""


def run(mode, processes, folder, out):
    program = out.parent / "train.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    launcher = (
        [] if mode == "alone" else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    )
    command = [sys.executable, *launcher, str(program), mode, str(folder), str(CONFIGURATIONS / "zero3.json"), str(out)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr[-3000:]
    return json.loads(out.read_text())


def test_two_processes_with_half_of_the_base_each_train_as_one_does(tiny_model_folder, tmp_path):
    pytest.importorskip("deepspeed")
    from safetensors.torch import load_file

    folder = tiny_model_folder("qwen3")
    alone = run("alone", 1, folder, tmp_path / "alone")
    shared = run("shared", 2, folder, tmp_path / "shared")
    assert shared["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert max(alone["losses"]) - min(alone["losses"]) > 1e-2
    # Up to the padding that makes every tensor divisible.
    assert shared["held"] < 0.55 * alone["held"]
    wanted, found = load_file(tmp_path / "alone.safetensors"), load_file(tmp_path / "shared.safetensors")
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


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
