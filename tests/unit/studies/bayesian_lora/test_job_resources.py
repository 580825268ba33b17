from dataclasses import replace
from pathlib import Path

import pytest

from bayesgrid.grid.model_sources import ModelCatalog, load_model_catalog
from bayesgrid.grid.plan import make_plan
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.studies.bayesian_lora.job_resources import JobSize, adapter_values, job_resources
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

CONFIG = Path(__file__).parents[4] / "config"

# 12 · 128² · L³ weights: 10 blocks of width 1280, and 32 blocks of width 4096.
SMALL, LARGE = 196_608_000, 6_442_450_944

FIT = JobSize(
    weights=SMALL,
    precision="float32",
    rank=8,
    targets=2,
    top_blocks=None,
    slots=2,
    gradient_rows=8,
    questions=100,
    passes=640,
)


def test_adapters_have_rank_times_inputs_and_outputs_values():
    assert adapter_values(FIT) == pytest.approx(8 * 1280 * (2 * 2 * 10 + 1))
    assert adapter_values(replace(FIT, top_blocks=3)) == pytest.approx(8 * 1280 * (2 * 2 * 3 + 1))
    assert adapter_values(FIT, head_only=True) == pytest.approx(8 * 1280)


def test_fit_on_a_cpu():
    # 2 GB + 2 · 4 · 196.608 MB + 24 · 2 · 419,840 + 136 · 1280 · 10 · 8 · 256 bytes = 7158.17 MB
    # 2 · 196.608e6 · 256 · 640 operations at 2e10 a second: 3221 s
    found = job_resources(FIT)
    assert (found.mem_mb, found.runtime, found.gpu, found.threads) == (10738, 15 + 108, 0, 1)


def test_laplace_on_a_gpu_keeps_the_jacobian_in_main_memory():
    # 6 GB + 2 · 6442.45 MB + 24 · 4,227,072 + 8 · 3000 · 4,227,072 bytes = 120,436.08 MB
    # 2 · 6.442e9 · 256 · 4000 operations at 1e14 a second: 132 s
    size = replace(
        FIT, weights=LARGE, precision="bfloat16", slots=1, gradient_rows=1000, passes=4000, jacobian_rows=3000
    )
    found = job_resources(size)
    assert (found.mem_mb, found.runtime, found.gpu, found.threads) == (180655, 15 + 5, 1, 4)
    assert job_resources(replace(size, head_jacobian=True)).mem_mb < 40_000


def test_blocks_below_the_adapters_are_passed_once_and_their_states_kept():
    # 2 GB + 1572.864 MB + 24 · 2 · 8 · 1280 · 9 + 136 · 1280 · 2 · 2048 + 8 · 1280 · 100 · 256 bytes = 4552.48 MB
    # 2 · 196.608e6 · 256 · (0.2 · 640 + 0.8 · 100) operations: 1047 s
    found = job_resources(replace(FIT, top_blocks=2))
    assert (found.mem_mb, found.runtime) == (6829, 15 + 35)


def test_fewer_bits_need_less_memory_and_quantised_ones_more_time():
    found = {
        precision: job_resources(replace(FIT, precision=precision))
        for precision in ("float32", "bfloat16", "int8", "nf4")
    }
    memory = [found[precision].mem_mb for precision in found]
    assert memory == sorted(memory, reverse=True)
    assert len(set(memory)) == 4
    assert found["bfloat16"].runtime == found["float32"].runtime
    assert found["int8"].runtime == found["nf4"].runtime > found["float32"].runtime


def test_it_is_the_number_of_weights_that_asks_for_a_gpu_and_not_the_name():
    datasets, models = load_dataset_catalog(CONFIG / "datasets.yaml"), load_model_catalog(CONFIG / "models.yaml")
    values = {"model": "smollm2_135m_instruct", "dataset": "winogrande_s", "method": "mle", "seeds": [0]}
    spec = BayesianLoraSpec.from_parameters(values, where="test")
    entry = models.entry(spec.model)
    large = ModelCatalog(models.path, {spec.model: entry.model_copy(update={"parameters": 8_000_000_000})})
    assert spec.resources(datasets, models).gpu == 0
    assert spec.resources(datasets, large).gpu == 1
    assert spec.fit().resources(datasets, large).mem_mb > spec.fit().resources(datasets, models).mem_mb


def test_what_multiplies_the_work_multiplies_the_time():
    datasets, models = load_dataset_catalog(CONFIG / "datasets.yaml"), load_model_catalog(CONFIG / "models.yaml")

    def minutes(method, seeds=(0,), **groups):
        values = {"model": "qwen3_8b", "dataset": "winogrande_s", "method": method, "seeds": list(seeds), **groups}
        return BayesianLoraSpec.from_parameters(values, where="test").fit().resources(datasets, models).runtime - 15

    one = minutes("mle")
    assert minutes("mle", seeds=(0, 1, 2, 3)) == pytest.approx(4 * one, abs=4)
    assert minutes("ensemble", ensemble={"members": 10}) == pytest.approx(10 * one, abs=10)
    assert minutes("mle", training={"steps": 10_000}) == pytest.approx(2 * one, abs=2)
    assert minutes("zeroshot") == 0


def test_exact_laplace_asks_for_its_examples_and_options():
    datasets, models = load_dataset_catalog(CONFIG / "datasets.yaml"), load_model_catalog(CONFIG / "models.yaml")

    def memory(dataset, budget, **laplace):
        values = {"model": "qwen3_8b", "dataset": dataset, "method": "laplace", "seeds": [0], "laplace": laplace}
        spec = BayesianLoraSpec.from_parameters({**values, "labels": {"budget": budget}}, where="test")
        return spec.fit().resources(datasets, models).mem_mb

    base = memory("winogrande_s", 4)
    two_options = memory("winogrande_s", 404) - base
    assert memory("arc_challenge", 404) - memory("arc_challenge", 4) == pytest.approx(4 * two_options, rel=0.01)
    assert memory("winogrande_s", 404, scope="head") - memory("winogrande_s", 4, scope="head") < two_options / 50


def test_runs_of_the_demo_and_of_the_laptop_experiments_need_no_gpu_and_fit_a_laptop():
    plan = make_plan(CONFIG, ["demo_bayesian_lora", "arc_openbookqa_laptop"])
    assert {run.resources.gpu for run in plan.runs.values()} == {0}
    assert max(run.resources.mem_mb for run in plan.runs.values()) < 16_000
