import dataclasses

import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import DataError
from bayesgrid.metrics.answer_scores import answer_scores
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.store.execution import Preempted
from bayesgrid.studies.bayesian_lora_active.bought_labels import held_out, initial_labels
from bayesgrid.studies.bayesian_lora_active.run import run_on_tasks
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

METHODS = ("mle", "map", "mcdropout", "ensemble", "blob", "scalabl", "ivon", "tfb", "laplace", "laplace_kronecker")


@pytest.fixture
def play(tiny_model, questions, make_context):
    """A function that runs a specification on forty questions, and may be told to stop after some progress.

    ``stop_at`` is what is counted, how far, and which time that is reached.
    """

    def run(spec, name="run", stop_at=None, training=None):
        context = make_context(name)
        reached = []

        def report(description, completed, _total):
            reached.append((description, completed))
            if stop_at is not None and reached.count(stop_at[:2]) == stop_at[2]:
                context.request_stop()

        context.report_progress = report
        return run_on_tasks(spec, tiny_model(spec), training or questions(40), questions(12, seed=1), context)

    return run


def assert_equal(first, second):
    for name in ("metrics", "predictions", "rounds"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


@pytest.mark.parametrize(
    ("stop_at", "safe"),
    [(("rounds", 7, 1), 7), (("training", 2, 1), 0), (("training", 2, 4), 3)],
    ids=["after_round_7", "within_the_first_fit", "within_the_fourth_fit"],
)
def test_interrupted_and_resumed_loop_gives_the_same_bits(active_spec, play, make_context, stop_at, safe):
    spec = active_spec("scalabl", acquisition={"initial": 4, "per_round": 3, "rounds": 9, "rule": "bald"})
    whole = play(spec, "whole")
    with pytest.raises(Preempted):
        play(spec, "parts", stop_at)
    latest = make_context("parts").checkpoints.latest()
    assert (latest.step if latest else 0) == safe
    assert (make_context("parts").state / "rounds" / f"round-{safe:04d}").exists() == (stop_at[0] == "training")
    assert_equal(play(spec, "parts"), whole)
    assert not (make_context("parts").state / "rounds").exists()


@pytest.mark.parametrize("method", ["scalabl", "ivon"])
def test_interrupted_warm_loop_gives_the_same_bits(active_spec, play, method):
    spec = active_spec(method, acquisition={"cold_start": False})
    whole = play(spec, "whole")
    with pytest.raises(Preempted):
        play(spec, "parts", ("rounds", 2, 1))
    assert_equal(play(spec, "parts"), whole)


def test_a_warm_start_goes_on_from_what_was_learnt(active_spec, play):
    losses = {
        cold: play(
            active_spec("mle", acquisition={"rule": "random", "cold_start": cold}, training={"steps": 30}),
            str(cold),
        ).rounds["training_nll"]
        for cold in (True, False)
    }
    assert losses[True][0] == losses[False][0]
    assert losses[False].iloc[-1] < losses[True].iloc[-1]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_buys_labels(active_spec, play, method):
    rule = "entropy" if method in ("mle", "map") else "bald"
    spec = active_spec(method, seeds=[0, 1], acquisition={"rounds": 2, "rule": rule})
    result = play(spec)
    assert result.rounds[["seed", "round", "labelled"]].to_numpy().tolist() == [
        [0, 0, 6],
        [0, 1, 10],
        [1, 0, 6],
        [1, 1, 10],
    ]
    assert np.isfinite(result.metrics["value"]).all()
    assert np.isfinite(result.rounds.loc[result.rounds["round"] == 0, "score_max"]).all()


def test_labels_are_bought_once_each_from_the_seeds_own_pool(active_spec, play, questions):
    spec = active_spec("scalabl", seeds=[0, 1], acquisition={"rounds": 5})
    rounds = play(spec).rounds
    for seed, own in rounds.groupby("seed"):
        names = questions(40).questions
        bought = [names[row] for row in initial_labels(seed, 40, 6)] + [name for row in own["chosen"] for name in row]
        assert len(bought) == len(set(bought)) == own["labelled"].iloc[-1] == 22
        assert len(own["chosen"].iloc[-1]) == 0
    assert rounds["chosen"].iloc[0] != rounds["chosen"].iloc[5]


def test_labels_that_were_not_bought_or_are_held_out_do_not_change_what_is_learnt(active_spec, play, questions):
    spec = active_spec("scalabl", acquisition={"rule": "random"}, labels={"validation_fraction": 0.25})
    task = questions(40)
    first = play(spec, "first")
    bought = initial_labels(0, 40, 6)
    names = [name for own in first.rounds["chosen"] for name in own]
    bought = np.concatenate([bought, [task.questions.index(name) for name in names]])
    learnt = np.delete(bought, held_out(0, spec.acquisition, 0.25, [""] * len(bought)))
    assert len(learnt) < len(bought) < 40
    answers = (task.answers + 1) % 3
    answers[learnt] = task.answers[learnt]
    second = play(spec, "second", training=dataclasses.replace(task, answers=answers))
    pd.testing.assert_frame_equal(first.predictions, second.predictions, check_exact=True)
    answers[learnt[0]] = (answers[learnt[0]] + 1) % 3
    third = play(spec, "third", training=dataclasses.replace(task, answers=answers))
    assert not first.predictions.equals(third.predictions)


@pytest.mark.parametrize(("method", "rule"), [("mle", "entropy"), ("ensemble", "bald"), ("blob", "batch_bald")])
def test_seed_alone_equals_seed_in_block(active_spec, play, method, rule):
    together = play(active_spec(method, seeds=[0, 1], acquisition={"rule": rule}), "together")
    alone = play(active_spec(method, seeds=[1], acquisition={"rule": rule}), "alone")
    part = together.rounds[together.rounds["seed"] == 1].reset_index(drop=True)
    assert part["chosen"].tolist() == alone.rounds["chosen"].tolist()
    numbers = [name for name in part.columns if name not in ("chosen", "score_ties")]
    pd.testing.assert_frame_equal(part[numbers], alone.rounds[numbers], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["map", "scalabl"])
def test_seeds_whose_groups_hold_out_different_numbers_learn_as_each_does_alone(active_spec, play, questions, method):
    task = questions(40)
    grouped = dataclasses.replace(task, groups=tuple(f"passage {row // 8}" for row in range(40)))
    usual = {"acquisition": {"rule": "random"}, "labels": {"validation_fraction": 0.25}}
    together = play(active_spec(method, seeds=[0, 1, 2], **usual), "together", training=grouped).rounds
    assert together.groupby("round")["held_out"].nunique().max() > 1
    for seed in (0, 1, 2):
        alone = play(active_spec(method, seeds=[seed], **usual), f"alone-{seed}", training=grouped).rounds
        part = together[together["seed"] == seed].reset_index(drop=True)
        assert part["chosen"].tolist() == alone["chosen"].tolist()
        numbers = [name for name in part.columns if name not in ("chosen", "score_ties")]
        pd.testing.assert_frame_equal(part[numbers], alone[numbers], rtol=1e-3, atol=1e-4)


def test_published_values_can_be_computed_again_from_the_predictions(active_spec, play):
    spec = active_spec("ensemble", seeds=[0, 1])
    result = play(spec)
    frame = result.predictions
    assert list(frame.columns) == [
        "seed", "round", "split", "example", "group", "answer", "options", "draw", "logit_0", "logit_1", "logit_2",
    ]  # fmt: skip
    assert sorted(frame["round"].unique()) == [0, 2]
    for seed in (0, 1):
        for number in (0, 2):
            own = frame[(frame["seed"] == seed) & (frame["round"] == number)]
            logits = own[["logit_0", "logit_1", "logit_2"]].to_numpy().reshape(12, 2, 3).transpose(1, 0, 2)
            first = own[own["draw"] == 0]
            answers, options = first["answer"].to_numpy(), first["options"].to_numpy()
            scores = answer_scores(drawn_log_probabilities(logits, options), answers)
            row = result.rounds.set_index(["seed", "round"]).loc[(seed, number)]
            assert row["nll"] == pytest.approx(scores.nll.mean(), rel=1e-9)
            assert row["accuracy"] == scores.correct.mean()
        values = result.metrics[result.metrics["seed"] == seed].set_index(["split", "metric"])["value"]
        curve = result.rounds[result.rounds["seed"] == seed]["nll"].to_numpy()
        assert values["test", "area_nll"] == pytest.approx((curve[0] / 2 + curve[1] + curve[2] / 2) / 2, rel=1e-12)
        assert values["test", "nll"] == curve[-1]
        assert values["test", "labels_used"] == 14


@pytest.mark.parametrize("method", ["mle", "blob"])
def test_the_reference_protocol_learns_every_label_it_buys(active_spec, play, method):
    group = {"initial": 6, "per_round": 4, "rounds": 3, "pool": 15, "draws": 3, "rule": "bald"}
    values = active_spec(method).model_dump(mode="json") | {"mode": "faithful", "acquisition": group}
    values.pop("variational")
    rounds = play(BayesianLoraActiveSpec.from_parameters(values, where="test")).rounds
    assert rounds["held_out"].tolist() == [0, 0, 0]
    # BALD of a single draw would be 0 for all candidates.
    assert (rounds["score_max"].iloc[:2] > 0).all()


def test_a_temperature_is_there_as_soon_as_labels_are_held_out(active_spec, play):
    rounds = play(active_spec("mle", acquisition={"rule": "entropy"}, labels={"validation_fraction": 0.2})).rounds
    assert rounds["held_out"].tolist() == [0, 2, 2]
    assert rounds["inverse_temperature"].notna().tolist() == [False, True, True]
    assert rounds["tempered_nll"].notna().tolist() == [False, True, True]


def test_more_labels_teach_the_rule_of_the_questions(active_spec, play, questions):
    spec = active_spec(
        "mle",
        acquisition={"rule": "random", "initial": 5, "per_round": 90, "rounds": 2, "pool": None, "hold_out_from": None},
        training={"steps": 150, "batch_size": 8, "learning_rate": 0.02},
        lora={"rank": 4},
    )
    rounds = play(spec, training=questions(100)).rounds
    assert rounds["accuracy"].iloc[1] > rounds["accuracy"].iloc[0]
    assert rounds["nll"].iloc[1] < rounds["nll"].iloc[0] - 0.5


def test_a_pool_that_cannot_be_bought_from_is_refused(active_spec, play):
    with pytest.raises(DataError, match="smaller than what is bought"):
        play(active_spec(acquisition={"rounds": 20}))
