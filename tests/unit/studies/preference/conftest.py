import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from bayesgrid.data.preference_pairs import Message, PreferencePairs, Prompt, Response
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker
from bayesgrid.studies.preference.spec import PreferenceSpec


@pytest.fixture(scope="session")
def kinds():
    """The module with small models of every kind; tests are imported by path, so it is too."""
    path = Path(__file__).with_name("preference_models.py")
    specification = importlib.util.spec_from_file_location("preference_models", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def make_context(tmp_path):
    """A function that returns the context of a run with real folders, always the same ones for the same name."""

    def make(name="run"):
        state = tmp_path / name
        return RunContext("test", state, Tracker(state / "tracking"), CheckpointStore(state / "checkpoints", "test"))

    return make


@pytest.fixture(scope="session")
def pairs():
    """Forty prompts with four responses each, all within-prompt pairs; numbers of responses decide the probability."""
    rng = np.random.default_rng(0)
    responses, first, second, prompt = [], [], [], []
    features = rng.standard_normal((160, 6)).astype(np.float32)
    quality = features @ np.array([1.0, -1.0, 0.5, 0, 0, 0])
    for place in range(40):
        own = range(4 * place, 4 * place + 4)
        responses += [Response(f"r{row}", place, f"text {row} " * (1 + row % 5), f"system {row % 4}") for row in own]
        for left, right in itertools.combinations(own, 2):
            first.append(left)
            second.append(right)
            prompt.append(place)
    first, second, prompt = np.array(first), np.array(second), np.array(prompt)
    probability = 1 / (1 + np.exp(quality[second] - quality[first]))
    return PreferencePairs(
        "pairs",
        "v1",
        tuple(Prompt(f"p{place}", (Message("user", f"question {place}"),)) for place in range(40)),
        tuple(responses),
        first,
        second,
        prompt,
        np.zeros((len(first), 3), dtype=np.float32),
        probability,
        tuple(f"pair {row}" for row in range(len(first))),
        (None,) * len(first),
        features,
    )


@pytest.fixture
def loop_spec():
    """A function that returns a specification of a short run; groups of parameters are merged into the defaults."""

    def make(rule="bald", kind="bradley_terry", **groups):
        values = {
            "dataset": "pairs",
            "seeds": [0, 1],
            "model": {"kind": kind, "hidden": 6, "dimension": 4},
            "training": {"steps": 20, "batch_size": 8, "learning_rate": 0.02},
            "labels": {"initial": 12, "per_round": 6, "rounds": 3, "pool": 120, "test": 40},
            "acquisition": {"rule": rule},
            "posterior": {"draws": 8, "members": 3},
        }
        for name, own in groups.items():
            values[name] = {**values[name], **own} if isinstance(own, dict) and name in values else own
        return PreferenceSpec.from_parameters(values, where="test")

    return make
