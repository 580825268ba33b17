import sys

import numpy as np
import pytest
import torch

from bayesgrid.studies.bayesian_lora import prediction_costs as costs
from bayesgrid.studies.bayesian_lora.prediction import predict


@pytest.fixture
def clock(monkeypatch):
    """A clock of 4 questions in 2 s, 2 in 4 s and 1 in 3 s, whose every report takes 100 s."""
    now = [0.0]
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])

    def report(done, total):
        now[0] += 100.0

    made = costs.BatchClock(report)
    for seconds, done in ((2.0, 4), (4.0, 6), (3.0, 7)):
        now[0] += seconds
        made(done, 7)
    return made


def test_mean_is_of_all_batches_and_quantiles_of_all_but_the_first(clock, make_task):
    task = make_task(7)
    found = costs.prediction_costs(clock, task, warm_up=5)
    assert found["seconds_per_example"] == pytest.approx(9 / 7)
    # 2 s a question twice, 3 s once.
    assert found["seconds_per_example_p50"] == pytest.approx(2.0)
    assert found["seconds_per_example_p95"] == pytest.approx(2.9)
    assert found["tokens_per_second"] == pytest.approx(sum(map(len, task.prompts)) / 9)
    assert found["warm_up_batches"] == 6


def test_a_single_batch_is_all_there_is(make_task):
    clock = costs.BatchClock(lambda done, total: None)
    clock(3, 3)
    found = costs.prediction_costs(clock, make_task(3), warm_up=0)
    assert found["seconds_per_example_p50"] == pytest.approx(found["seconds_per_example"])
    assert found["warm_up_batches"] == 0


def test_every_question_is_in_a_batch_that_was_timed(adapted_model, fit_spec, make_task, random_weights, monkeypatch):
    monkeypatch.setattr("bayesgrid.studies.bayesian_lora.prediction.tokens_at_once", lambda device: 40)
    adapted = adapted_model(fit_spec("mle"))
    clock = costs.BatchClock(lambda done, total: None)
    predict(adapted, make_task(9), [random_weights(adapted.stack)], progress=clock)
    assert sum(clock.questions) == 9
    assert len(clock.questions) == len(clock.seconds) > 2


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of Linux")
def test_memory_is_that_of_the_block():
    held = np.ones(200 * 1024**2 // 8)
    with costs.memory_above_level(torch.device("cpu")) as memory:
        torch.ones(100 * 1024**2 // 4).sum()
    assert memory.megabytes == pytest.approx(100, abs=20)
    assert held.sum() > 0
