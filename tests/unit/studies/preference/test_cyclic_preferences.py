"""Models on preferences that go in circles: what scores can reach, and what skew-symmetric vectors reach beyond it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bayesgrid.data.preference_cycles import load_usr_cycles, load_usr_cycles_with_criterion
from bayesgrid.data.preference_games import game_pairs
from bayesgrid.grid.preference_sets import GameParameters, RockPaperScissors
from bayesgrid.metrics.transitive_ceiling import accuracy_ceiling
from bayesgrid.studies.preference.model_inputs import BaseModelStates
from bayesgrid.studies.preference.run import run_on_pairs

CRITERIA = ("clear", "useful", "kind")


@pytest.fixture(scope="module")
def game():
    parameters = GameParameters(game=RockPaperScissors(name="rock_paper_scissors", items=31), temperature=0.5)
    return replace(game_pairs(parameters), name="game", data_version="v1")


@pytest.fixture
def cyclic_spec(loop_spec):
    def make(kind, **groups):
        labels = {"initial": "all", "pool": None, "test": None, "test_fraction": 0.3, **groups.pop("labels", {})}
        training = {"steps": 300, "batch_size": 64, "learning_rate": 0.02}
        model = {"hidden": 32, "dimension": 4, "temperature": 0.5}
        posterior = {"kind": "none"}
        return loop_spec("random", kind, labels=labels, training=training, model=model, posterior=posterior, **groups)

    return make


def of_test(result):
    own = result.metrics[result.metrics["split"] == "test"]
    return own.pivot_table(index="seed", columns="metric", values="value")


@pytest.mark.parametrize("split", ["pair", "item"])
def test_scores_stay_below_the_ceiling_of_the_game_and_vectors_pass_it(split, cyclic_spec, game, make_context):
    accuracy = {}
    for kind in ("bradley_terry", "general_preference"):
        spec = cyclic_spec(kind, labels={"split": split})
        found = of_test(run_on_pairs(spec, game, None, make_context(kind)))
        ceiling = found["transitive_ceiling"].iloc[0]
        assert 0.5 < ceiling < 1
        accuracy[kind] = found["accuracy"]
        scores_alone = kind == "bradley_terry"
        assert ((found["cyclic_share"] < 1e-6) if scores_alone else (found["cyclic_share"] > 0.2)).all()
    assert (accuracy["bradley_terry"] <= ceiling + 1e-9).all()
    assert (accuracy["general_preference"] > ceiling).all()
    assert (accuracy["general_preference"] > 0.9).all()


def test_published_ceiling_is_that_of_the_tested_pairs(cyclic_spec, game, make_context):
    result = run_on_pairs(cyclic_spec("bradley_terry", labels={"split": "item"}), game, None, make_context())
    own = result.predictions.query("seed == 0")
    ends = np.array([[int(part) for part in pair.split("-")] for pair in own["pair"]])
    target = np.array([game.probability[game.pair_ids.index(pair)] for pair in own["pair"]])
    expected = accuracy_ceiling(ends[:, 0], ends[:, 1], target)
    assert of_test(result)["transitive_ceiling"].iloc[0] == pytest.approx(expected.upper)


@pytest.fixture(scope="module")
def cycles(tmp_path_factory):
    """The sets with and without the criterion, made from random grades, and states of all replies that tell them."""
    rng = np.random.default_rng(0)
    grades = rng.integers(1, 6, (8, 4, 3)).astype(float)
    rows = [
        {
            "source": f"hello {context}",
            "context": f"fact {context}",
            "system_id": f"s{system}",
            "system_output": f"reply {context} of {system}",
            "scores": dict(zip(CRITERIA, of_system, strict=True)),
        }
        for context, of_context in enumerate(grades)
        for system, of_system in enumerate(of_context)
    ]
    path = tmp_path_factory.mktemp("grades") / "grades.json"
    path.write_text(json.dumps(rows))
    sets = []
    for load in (load_usr_cycles, load_usr_cycles_with_criterion):
        pairs = replace(load({"table": path}).pairs, name="cycles", data_version="v1")
        of_text = {row["system_output"]: list(row["scores"].values()) for row in rows}
        states = np.array([of_text[response.text] for response in pairs.responses])
        prompts = np.zeros((len(pairs.prompts), 3))
        sets.append((pairs, BaseModelStates(states, prompts, np.arange(len(states)))))
    return sets


def accuracy_on_what_was_learnt(spec, pairs, states, context):
    """Return accuracies on all pairs of the set, most of which were learnt, and the ceiling of scores on them."""
    result = run_on_pairs(spec, pairs, states, context, {"again": (replace(pairs, name="again"), states)})
    own = result.metrics[result.metrics["split"] == "again"].pivot_table(index="seed", columns="metric", values="value")
    return own["accuracy"].to_numpy(), own["transitive_ceiling"].iloc[0]


def test_scores_explain_the_cycles_once_the_criterion_is_told(cycles, cyclic_spec, make_context):
    groups = {
        "labels": {"split": "pair", "test_fraction": 0.05, "validation_fraction": 0.0},
        "inputs": {"model": "graders", "product": False, "length": False},
        "evaluation": {"sets": ["again"]},
    }
    (hidden, hidden_states), (told, told_states) = cycles
    spec = cyclic_spec("bradley_terry", **groups)
    accuracy, ceiling = accuracy_on_what_was_learnt(spec, hidden, hidden_states, make_context("hidden"))
    assert ceiling < 0.75
    assert (accuracy <= ceiling + 1e-9).all()
    accuracy, ceiling = accuracy_on_what_was_learnt(spec, told, told_states, make_context("told"))
    assert ceiling == 1
    assert (accuracy > 0.93).all()


def test_whole_triples_are_tested_with_a_ceiling_of_two_thirds(cycles, cyclic_spec, make_context):
    groups = {"labels": {"split": "group"}, "inputs": {"model": "graders", "product": False, "length": False}}
    (hidden, states), _ = cycles
    found = of_test(run_on_pairs(cyclic_spec("bradley_terry", **groups), hidden, states, make_context()))
    assert found["examples"].iloc[0] % 3 == 0
    assert found["transitive_ceiling"].iloc[0] == pytest.approx(2 / 3, abs=0.05)
    assert {f"accuracy/{criterion}" for criterion in CRITERIA} <= set(found.columns)
