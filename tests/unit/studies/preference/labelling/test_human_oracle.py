"""A loop whose labels people give."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.preference_splits import split_by_prompt
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.identity import identity_record, run_id
from bayesgrid.grid.specification import RunSpec
from bayesgrid.store.execution import Preempted
from bayesgrid.store.status import run_status
from bayesgrid.studies.preference.label_batches import CHOICES, Vote, open_batch, tally
from bayesgrid.studies.preference.label_import import import_answers

ANNOTATORS = ("ada", "ben", "cleo")


def opinion(pair_id, annotator):
    """Return what an annotator thinks of a pair whatever the sides: its first response, its second, or neither."""
    return ("first", "second", "tie", "both_bad")[hashlib.sha256(f"{pair_id}{annotator}".encode()).digest()[0] % 4]


def share_of_first(pair_id, annotators):
    values = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}
    return np.mean([values[opinion(pair_id, annotator)] for annotator in annotators])


def answered(batch, data, annotators):
    """Return the rows that annotators hand in: the side on which the response they prefer stands."""
    rows = []
    for pair_id, left in zip(batch.pair_ids, batch.left, strict=True):
        first = data.responses[data.first[data.pair_ids.index(pair_id)]].response_id
        sides = {"first": "left" if left == first else "right", "second": "right" if left == first else "left"}
        rows += [(pair_id, sides.get(opinion(pair_id, who), opinion(pair_id, who)), who) for who in annotators]
    return rows


def label_all(labelled, hand_in, annotators, after=lambda _batch: None):
    """Start a run, and label what it asks for, until it is done."""
    for _round in range(20):
        result = labelled.play()
        if result is not None:
            return result
        batch = labelled.asked()
        rows = answered(batch, labelled.data, annotators)
        import_answers(labelled.results, labelled.state_root, labelled.name, [hand_in(rows)])
        after(batch)
    raise AssertionError("the run never ended")


def assert_same(first, second):
    for name in ("metrics", "predictions", "rounds"):
        pd.testing.assert_frame_equal(first[name], second[name], check_exact=True)


@pytest.mark.parametrize(("target", "annotators"), [("sign", ANNOTATORS[:1]), ("soft", ANNOTATORS)])
def test_peoples_answers_give_the_bits_of_a_data_set_with_these_labels(
    target, annotators, loop_spec, pairs, start_run, hand_in
):
    labels = {"target": target, "initial": 10, "per_round": 5, "rounds": 2}
    by_hand = start_run(loop_spec(labels={**labels, "oracle": "human"}), pairs, "by_hand")
    result = label_all(by_hand, hand_in, annotators)
    given = np.array([share_of_first(pair_id, annotators) for pair_id in pairs.pair_ids])
    test = split_by_prompt(pairs, validation=0.0, test=0.25, seed=0).test
    given[test] = pairs.probability[test]
    simulated = start_run(loop_spec(labels=labels), replace(pairs, probability=given), "simulated")
    assert_same(result, simulated.play())
    assert "tested_answers_bought" not in set(result["metrics"]["metric"])


def test_killed_and_stopped_runs_go_on_to_the_same_bits(loop_spec, pairs, start_run, hand_in):
    spec = loop_spec(labels={"oracle": "human", "initial": 10, "per_round": 5, "rounds": 2})
    whole = label_all(start_run(spec, pairs, "whole"), hand_in, ANNOTATORS[:1])
    parts = start_run(spec, pairs, "parts")
    assert parts.play() is None
    first = parts.asked()
    assert parts.play() is None
    assert parts.asked() == first
    rows = answered(first, pairs, ANNOTATORS[:1])
    import_answers(parts.results, parts.state_root, parts.name, [hand_in(rows)])
    with pytest.raises(Preempted):
        parts.play(before=lambda context: context.request_stop())
    # Stopped after the fit, before the next questions: the batch is closed, so that no vote changes what was learnt.
    assert parts.asked() is None
    with pytest.raises(StateError, match=r"does not wait for labels.*start it again"):
        import_answers(parts.results, parts.state_root, parts.name, [hand_in(rows)])
    assert_same(label_all(parts, hand_in, ANNOTATORS[:1]), whole)


def test_questions_are_the_pairs_that_the_next_fit_needs(loop_spec, pairs, start_run, hand_in):
    spec = loop_spec(labels={"oracle": "human", "rounds": 1})
    labelled = start_run(spec, pairs)
    batches = []
    result = label_all(labelled, hand_in, ANNOTATORS[:1], after=batches.append)
    assert [batch.round_number for batch in batches] == [0, 1]
    asked = [pair_id for batch in batches for pair_id in batch.pair_ids]
    assert len(asked) == len(set(asked))
    # Two seeds of 12 initial pairs; what both want is asked once.
    assert 12 <= batches[0].count <= 24
    bought = {pair for chosen in result["rounds"].query("round == 0")["chosen"] for pair in chosen}
    assert set(batches[1].pair_ids) == bought - set(batches[0].pair_ids)
    for batch in batches:
        for pair_id, prompt_id, *sides in zip(batch.pair_ids, batch.prompt_ids, batch.left, batch.right, strict=True):
            row = pairs.pair_ids.index(pair_id)
            assert set(sides) == {pairs.responses[place].response_id for place in (pairs.first[row], pairs.second[row])}
            assert pairs.prompts[pairs.prompt[row]].prompt_id == prompt_id
        table = pd.read_parquet(labelled.folders.state / "batches" / f"round_{batch.round_number:04d}.parquet")
        assert list(table) == ["pair_id", "prompt_id", "left", "right", "round", "tested"]
        assert not table["tested"].any()
    first = np.array([pairs.responses[pairs.first[pairs.pair_ids.index(pair)]].response_id for pair in asked])
    left = np.array([left for batch in batches for left in batch.left])
    assert 0.2 < np.mean(first == left) < 0.8


def test_a_set_without_labels_is_tested_on_answers_that_are_held_out(loop_spec, unlabelled, start_run, hand_in):
    spec = loop_spec(labels={"oracle": "human", "rounds": 1})
    labelled = start_run(spec, unlabelled)
    batches = []
    result = label_all(labelled, hand_in, ANNOTATORS[:1], after=batches.append)
    tested = [pair for pair, held in zip(batches[0].pair_ids, batches[0].tested, strict=True) if held]
    # A quarter of 12 + 6 labels.
    assert len(tested) == round(0.25 * 18)
    assert not any(batches[1].tested)
    prompts = {pair: unlabelled.prompt[unlabelled.pair_ids.index(pair)] for b in batches for pair in b.pair_ids}
    assert not {prompts[pair] for pair in tested} & {prompts[pair] for pair in prompts if pair not in tested}
    assert result["rounds"]["labelled"].tolist() == [12, 18] * 2
    values = result["metrics"].set_index("metric")["value"]
    assert set(values["tested_answers_bought"]) == set(values["examples"]) == {len(tested)}
    known = result["predictions"].query("seed == 0 and round == 0")
    assert set(known["pair"]) == set(tested)
    decided = known["first_preferred"] != 0.5
    undecided = {pair for pair in tested if opinion(pair, "ada") in ("tie", "both_bad")}
    assert set(known["pair"][~decided]) == undecided


def test_held_out_answers_are_never_more_than_the_test_may_have(loop_spec, unlabelled, start_run):
    labelled = start_run(loop_spec(labels={"oracle": "human", "test": 3}), unlabelled)
    assert labelled.play() is None
    assert sum(labelled.asked().tested) == 3


def test_ties_alone_do_not_make_a_test(loop_spec, unlabelled, start_run, hand_in):
    labelled = start_run(loop_spec(labels={"oracle": "human", "test": 2}), unlabelled)
    assert labelled.play() is None
    batch = labelled.asked()
    place = labelled.results, labelled.state_root, labelled.name
    lines = import_answers(*place, [hand_in([(pair, "tie", "ada") for pair in batch.pair_ids])])
    assert lines[-1] == "waiting for labels: all 2 pairs of round 0 that are held out are ties"
    assert labelled.play() is None
    held = next(pair for pair, tested in zip(batch.pair_ids, batch.tested, strict=True) if tested)
    import_answers(*place, [hand_in([(held, "left", "ben")])])
    labelled.play()
    assert labelled.asked().round_number == 1


def test_status_says_what_is_awaited_and_by_which_commands(loop_spec, pairs, start_run, hand_in):
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    labelled.play()
    count = labelled.asked().count

    def status():
        return run_status(labelled.results, labelled.state_root, "preference", labelled.name)

    assert status().state == "waiting"
    commands = [f"bayesgrid label export {labelled.name} FOLDER", f"bayesgrid label import {labelled.name} FILE..."]
    assert status().message.splitlines() == [f"waiting for labels: {count} pairs of round 0", *commands]
    assert not labelled.folders.failure.exists()
    rows = answered(labelled.asked(), pairs, ANNOTATORS[:1])
    place = labelled.results, labelled.state_root, labelled.name
    import_answers(*place, [hand_in(rows[:-2])])
    assert status().message.splitlines()[0] == "waiting for labels: 2 pairs of round 0"
    import_answers(*place, [hand_in(rows)])
    assert status().message == "labels of round 0 are complete: start the run again"


def test_votes_that_are_kept_are_those_the_loop_went_on_with(loop_spec, pairs, start_run, hand_in):
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    labelled.play()
    pair, *others = labelled.asked().pair_ids
    rows = [(pair, "left", "ada"), (pair, "both_bad", "ben"), (pair, "tie", "cleo"), (pair, "left", "dan")]
    rows += [(other, "right", "ada") for other in others]
    import_answers(labelled.results, labelled.state_root, labelled.name, [hand_in(rows)])
    labelled.play()
    table = pd.read_parquet(labelled.folders.state / "labels" / "round_0000.parquet").set_index("pair_id")
    votes = [f"votes_{choice}" for choice in CHOICES]
    assert votes == ["votes_left", "votes_right", "votes_tie", "votes_both_bad"]
    assert table.loc[pair, votes].tolist() == [2, 0, 1, 1]
    assert table.loc[pair, "probability_left"] == (2 + 1 / 2 + 1 / 2) / 4
    assert (table.loc[others, "probability_left"] == 0).all()


def test_other_pairs_than_were_asked_for_are_no_reason_to_ask_again(loop_spec, pairs, start_run, hand_in):
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    labelled.play()
    import_answers(
        labelled.results,
        labelled.state_root,
        labelled.name,
        [hand_in([(pair, "left", "ada") for pair in labelled.asked().pair_ids])],
    )
    other = start_run(loop_spec(labels={"oracle": "human"}, seeds=[2, 3]), pairs)
    assert other.folders == labelled.folders
    with pytest.raises(StateError, match=r"other pairs than round 0 has asked for"):
        other.play()


def test_share_of_votes_counts_ties_as_half(pairs, loop_spec, start_run):
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    labelled.play()
    batch = open_batch(labelled.folders.state)
    counted = tally(batch, [Vote(batch.pair_ids[0], "tie", "a"), Vote(batch.pair_ids[0], "right", "b")])
    assert counted.probability_left[0] == 0.25
    assert np.isnan(counted.probability_left[1:]).all()
    assert counted.answered.sum() == 1


def test_a_batch_is_whole_or_not_there(loop_spec, pairs, start_run, monkeypatch):
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    flush = os.fsync

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        labelled.play()
    monkeypatch.setattr(os, "fsync", flush)
    assert labelled.asked() is None
    assert labelled.play() is None
    assert labelled.asked() is not None


def test_the_oracle_enters_the_id_of_runs_with_people_alone(loop_spec):
    def name(**labels):
        spec = loop_spec(labels=labels)
        return run_id(spec.slug(), identity_record(spec, data_versions={}))

    assert name(oracle="simulated") == name()
    assert "oracle" not in loop_spec(labels={"oracle": "simulated"}).sparse_parameters()["labels"]
    assert name(oracle="human") != name()


@pytest.mark.parametrize("labels", [{"target": "drawn"}, {"flip_probability": 0.1}])
def test_peoples_answers_are_neither_drawn_nor_flipped(labels, loop_spec, monkeypatch):
    monkeypatch.setattr(RunSpec, "check", lambda *_, **__: None)
    with pytest.raises(ConfigurationError, match="neither drawn nor flipped"):
        loop_spec(labels={"oracle": "human", **labels}).check(None)
