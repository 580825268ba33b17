"""Answers that people hand in: what is taken, what is refused, and that nothing is half done."""

import json

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from bayesgrid.errors import ConfigurationError, DataError, RunInUseError, StateError
from bayesgrid.studies.preference.label_batches import Vote, read_votes
from bayesgrid.studies.preference.label_import import import_answers


@pytest.fixture
def waiting(loop_spec, pairs, start_run):
    """A run that waits for the labels of its first round."""
    labelled = start_run(loop_spec(labels={"oracle": "human"}), pairs)
    labelled.play()

    def hand_over(*paths, **options):
        return import_answers(labelled.results, labelled.state_root, labelled.name, paths, **options)

    labelled.hand_over = hand_over
    labelled.votes = lambda: read_votes(labelled.folders.state, labelled.asked().round_number)
    return labelled


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_votes_of_all_files_and_annotators_are_kept(waiting, hand_in):
    one, two, *_ = waiting.asked().pair_ids
    first = hand_in([(one, "left", "ada", 3.5), (two, "tie", "ada", "")], "a.csv", "pair_id,choice,annotator,seconds")
    second = hand_in([], "b.jsonl", "").with_name("b.jsonl")
    rows = [
        {"pair_id": one, "choice": "both_bad", "annotator": "ben", "seconds": 2},
        {"pair_id": two, "choice": None, "annotator": None},
    ]
    second.write_text("\n".join(json.dumps(row) for row in rows))
    lines = waiting.hand_over(first, second)
    assert set(waiting.votes()) == {
        Vote(one, "left", "ada", 3.5),
        Vote(one, "both_bad", "ben", 2.0),
        Vote(two, "tie", "ada", None),
    }
    count = waiting.asked().count
    assert lines[0] == "new answers: 3, there already: 0"
    assert f"2 of {count} pairs are answered, votes: 3, annotators: ada, ben" in lines[1]
    assert lines[2].startswith(f"{count - 2} of {count} pairs are open: ")
    assert lines[3] == f"waiting for labels: {count - 2} pairs of round 0"


def test_a_file_twice_changes_nothing(waiting, hand_in):
    path = hand_in([(pair, "left", "ada") for pair in waiting.asked().pair_ids])
    waiting.hand_over(path)
    before = everything(waiting.folders.state)
    assert waiting.hand_over(path, path)[0].startswith("new answers: 0")
    assert everything(waiting.folders.state) == before


def test_more_votes_are_taken_until_the_loop_goes_on(waiting, hand_in):
    pairs = waiting.asked().pair_ids
    waiting.hand_over(hand_in([(pair, "left", "ada") for pair in pairs]))
    waiting.hand_over(hand_in([(pairs[0], "right", "ben")]))
    waiting.play()
    with pytest.raises(DataError, match=r"answers.csv, line 2: the pair is of round 0, with whose labels"):
        waiting.hand_over(hand_in([(pairs[0], "right", "cleo")]))
    table = pd.read_parquet(waiting.folders.state / "labels" / "round_0000.parquet").set_index("pair_id")
    assert table.loc[pairs[0], "probability_left"] == 0.5


def test_an_answer_is_replaced_only_if_that_is_said(waiting, hand_in):
    pair = waiting.asked().pair_ids[0]
    waiting.hand_over(hand_in([(pair, "left", "ada")]))
    changed = hand_in([(pair, "tie", "ada")], "changed.csv")
    with pytest.raises(DataError, match=r"changed.csv, line 2: .*'ada'.*two ways.*given: tie, and left.*--replace"):
        waiting.hand_over(changed)
    assert waiting.votes() == [Vote(pair, "left", "ada")]
    waiting.hand_over(changed, replace=True)
    assert waiting.votes() == [Vote(pair, "tie", "ada")]


@pytest.mark.parametrize(
    ("further", "row", "message"),
    [
        ("", "pair 99999,left,ada", r"unknown pair; given: 'pair 99999'; allowed: the \d+ pairs"),
        ("", "{pair},lefft,ada", r"unknown choice; given: 'lefft'; .*did you mean 'left'"),
        ("", "{pair},left, ", r"has no annotator; given: pair .*, left"),
        (",round", "{pair},left,ada,3", r"another round's batch; given: round '3'; allowed: '0'"),
        (",run", "{pair},left,ada,x", r"of another run; given: run 'x'"),
        (",left", "{pair},left,ada,r99999", r"another response stood left; given: left 'r99999'"),
        (",right", "{pair},left,ada,{left}", r"another response stood right"),
        (",seconds", "{pair},left,ada,-1", r"'seconds' is no duration; given: '-1'"),
        (",seconds", "{pair},left,ada,nan", r"'seconds' is no duration; given: 'nan'"),
        (",seconds", "{pair},left,ada,soon", r"'seconds' is no duration; given: 'soon'"),
        ("", "{pair},left", r"another number of cells than the header; given: 2; allowed: 3"),
        ("", '{pair},"left"x,ada', r"is no CSV"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_line(further, row, message, waiting, tmp_path):
    batch = waiting.asked()
    good = f"{batch.pair_ids[0]},left,ada" + "," * further.count(",")
    wrong = row.format(pair=batch.pair_ids[1], left=batch.left[1])
    path = tmp_path / "answers.csv"
    path.write_text(f"pair_id,choice,annotator{further}\n{good}\n{wrong}\n")
    before = everything(waiting.folders.state)
    with pytest.raises(DataError, match=rf"answers.csv, line 3: .*{message}"):
        waiting.hand_over(path)
    assert everything(waiting.folders.state) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("answers.csv", b"pair_id,choice,annotater", r"line 1: .*'annotator' is missing; .*did you mean 'annotater'"),
        ("answers.csv", b"", r"line 1: the column 'pair_id' is missing; given: nothing"),
        ("answers.jsonl", b'{"pair_id": ', r"answers.jsonl, line 1: the line is no JSON"),
        ("answers.jsonl", b"[" * 100_000, r"the line is no JSON"),
        ("answers.jsonl", b"\n[1]", r"line 2: the line is no object; given: list"),
        ("answers.jsonl", b'{"pair_id": "x"}', r"line 1: the column 'choice' is missing"),
        ("answers.csv", "Anna Höß".encode("utf-16"), r"cannot be read: .*saved as UTF-8"),
        ("answers.xlsx", b"PK", r"CSV or JSON lines; allowed: .csv or .jsonl"),
    ],
)
def test_files_that_are_no_answers_are_refused(name, content, message, waiting, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    before = everything(waiting.folders.state)
    with pytest.raises(DataError, match=message):
        waiting.hand_over(path)
    with pytest.raises(DataError, match="cannot be read"):
        waiting.hand_over(tmp_path / "absent.csv")
    assert everything(waiting.folders.state) == before


def test_every_fault_is_counted_and_a_good_file_beside_a_bad_one_is_not_taken(waiting, hand_in):
    pairs = waiting.asked().pair_ids
    good = hand_in([(pairs[0], "left", "ada")], "good.csv")
    bad = hand_in([("x", "left", "ada"), (pairs[1], "?", "ada"), (pairs[2], "tie", "")], "bad.csv")
    with pytest.raises(DataError, match=r"bad.csv, line 2: unknown pair \(2 further faults\)"):
        waiting.hand_over(good, bad)
    assert waiting.votes() == []


def test_two_answers_in_one_file_conflict_but_equal_ones_do_not(waiting, hand_in):
    pair = waiting.asked().pair_ids[0]
    with pytest.raises(DataError, match=r"line 3: .*given: right, and left in .*answers.csv, line 2"):
        waiting.hand_over(hand_in([(pair, "left", "ada"), (pair, "right", "ada")]), replace=True)
    assert waiting.hand_over(hand_in([(pair, "left", "ada"), (pair, " LEFT ", "ada ")]))[0] == (
        "new answers: 1, there already: 1"
    )


def test_lines_are_counted_over_texts_of_several_lines_and_semicolons_are_read(waiting, tmp_path):
    one, two, *_ = waiting.asked().pair_ids
    path = tmp_path / "answers.csv"
    long = "x" * 200_000
    path.write_text(
        f'\ufeffpair_id;choice;annotator;left_text\n{one};left;ada;"two\nlines, {long}"\n\n{two};lft;ada;\n'
    )
    with pytest.raises(DataError, match=r"answers.csv, line 5: unknown choice"):
        waiting.hand_over(path)
    path.write_text(path.read_text().replace("lft", "right"))
    waiting.hand_over(path)
    assert {vote.choice for vote in waiting.votes()} == {"left", "right"}


def test_nothing_is_taken_while_the_run_is_computed(waiting, hand_in):
    path = hand_in([(waiting.asked().pair_ids[0], "left", "ada")])
    with FileLock(waiting.folders.lock), pytest.raises(RunInUseError, match="is being computed"):
        waiting.hand_over(path)
    assert waiting.votes() == []


def test_a_finished_run_takes_no_answers(loop_spec, pairs, start_run, hand_in):
    labelled = start_run(loop_spec(labels={"oracle": "human", "rounds": 0}), pairs)
    labelled.play()
    path = hand_in([(pair, "left", "ada") for pair in labelled.asked().pair_ids])
    place = labelled.results, labelled.state_root, labelled.name
    import_answers(*place, [path])
    assert labelled.play() is not None
    assert not labelled.folders.waiting.exists()
    with pytest.raises(StateError, match="the run is finished"):
        import_answers(*place, [path])


def test_a_run_is_named_by_its_id_or_the_end_of_it(waiting, hand_in):
    path = hand_in([(waiting.asked().pair_ids[0], "left", "ada")])
    import_answers(waiting.results, waiting.state_root, waiting.name[-16:], [path])
    with pytest.raises(ConfigurationError, match=r"no run with this id.*given: nobody"):
        import_answers(waiting.results, waiting.state_root, "nobody", [path])
    twin = waiting.state_root / f"another-{waiting.name[-16:]}" / "batches"
    twin.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="2 runs end with this id"):
        import_answers(waiting.results, waiting.state_root, waiting.name[-16:], [path])


def test_damaged_files_of_the_run_are_named(waiting, hand_in):
    path = hand_in([(waiting.asked().pair_ids[0], "left", "ada")])
    waiting.hand_over(path)
    votes = waiting.folders.state / "votes" / "round_0000.parquet"
    votes.write_bytes(votes.read_bytes()[:-10])
    with pytest.raises(StateError, match=r"votes/round_0000.parquet: the file cannot be read.*imported again"):
        waiting.hand_over(path)
    with pytest.raises(StateError, match="the file cannot be read"):
        waiting.play()
    votes.unlink()
    assert waiting.hand_over(path)[0].startswith("new answers: 1")
    assert np.isin("ada", [vote.annotator for vote in waiting.votes()])
