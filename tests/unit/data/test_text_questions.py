import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bayesgrid.data.question_loaders import QUESTION_LOADERS
from bayesgrid.errors import DataError


@pytest.fixture
def load(tmp_path):
    """Write rows as the hub stores them and read them with a loader."""

    def run(loader, roles, ending="parquet"):
        files = {}
        for role, rows in roles.items():
            files[role] = path = tmp_path / f"{role}.{ending}"
            table = pa.Table.from_pylist(rows)
            if ending == "parquet":
                pq.write_table(table, path)
            elif ending == "arrow":
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
                    stream.write_table(table)
            else:
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return QUESTION_LOADERS[loader](files, tmp_path / "images")

    return run


def arc(name, labels, key):
    texts = [f"text {label}" for label in labels]
    return {"id": name, "question": "Q", "choices": {"text": texts, "label": list(labels)}, "answerKey": key}


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl"])
def test_arc_maps_digits_to_letters_and_keeps_three_to_five_options(load, ending):
    rows = [arc("a", "ABCD", "D"), arc("b", "1234", "2"), arc("c", "ABC", "A"), arc("d", "12345", "5")]
    questions = load("arc", {"train": rows}, ending)["train"]
    assert [(q.question_id, len(q.options), q.answer) for q in questions] == [
        ("a", 4, 3),
        ("b", 4, 1),
        ("c", 3, 0),
        ("d", 5, 4),
    ]
    assert questions[1].options[1] == "text 2"


@pytest.mark.parametrize(
    ("row", "words"),
    [(arc("a", "BACD", "A"), "first letters or digits in order"), (arc("a", "ABC", "D"), "unknown value")],
)
def test_arc_with_strange_labels_is_refused(load, row, words):
    with pytest.raises(DataError, match=words):
        load("arc", {"train": [row]})


def test_openbookqa_asks_the_stem(load):
    row = {**arc("a", "ABCD", "C"), "question_stem": "Stem"}
    (question,) = load("openbookqa", {"test": [row]})["test"]
    assert (question.question, question.answer) == ("Stem", 2)


def test_mmlu_redux_keeps_questions_without_errors_under_the_ids_of_all(load):
    rows = [
        {"question": str(n), "choices": list("abcd"), "answer": n % 4, "error_type": error}
        for n, error in enumerate(["ok", "wrong_groundtruth", "ok", "bad_question_clarity"])
    ]
    redux, plain = load("mmlu_redux", {"test": rows}, "arrow")["test"], load("mmlu", {"test": rows})["test"]
    assert [(q.question_id, q.answer) for q in redux] == [("test-0", 0), ("test-2", 2)]
    assert [q for q in plain if q.question_id in ("test-0", "test-2")] == list(redux)


def test_mmlu_pro_has_up_to_ten_options(load):
    rows = [
        {"question_id": 7, "question": "Q", "options": [str(i) for i in range(n)], "answer": key}
        for n, key in [(10, "J"), (3, "B")]
    ]
    rows[1]["question_id"] = 8
    questions = load("mmlu_pro", {"test": rows})["test"]
    assert [(q.question_id, len(q.options), q.answer) for q in questions] == [
        ("mmlu-pro-7", 10, 9),
        ("mmlu-pro-8", 3, 1),
    ]
    with pytest.raises(DataError, match="unknown value"):
        load("mmlu_pro", {"test": [{**rows[1], "answer": "D"}]})


def test_boolq_groups_questions_by_passage(load):
    rows = [{"question": f"q{i}", "passage": passage, "answer": i == 1} for i, passage in enumerate("PPR")]
    questions = load("boolq", {"train": rows})["train"]
    assert [q.answer for q in questions] == [0, 1, 0]
    assert [q.passage for q in questions] == ["P", "P", "R"]
    assert questions[0].group == questions[1].group != questions[2].group
    assert questions[0].options == ("false", "true")


def test_files_that_do_not_fit_are_refused(load):
    with pytest.raises(DataError, match="no column 'answer'"):
        load("mmlu", {"test": [{"question": "Q", "choices": ["a", "b"]}]})
    with pytest.raises(DataError, match="unknown role"):
        load("mmlu", {"dev": [{"question": "Q", "choices": ["a", "b"], "answer": 0}]})
    with pytest.raises(DataError, match="unknown value"):
        load("mmlu", {"test": [{"question": "Q", "choices": ["a", "b"], "answer": 2}]})


def sentence(text, first, second, answer="1"):
    return {"sentence": text, "option1": first, "option2": second, "answer": answer}


TWIN = sentence("The trophy did not fit into the suitcase because the _ was too large.", "trophy", "suitcase")
ITS_TWIN = sentence("The trophy did not fit into the suitcase because the _ was too small.", "suitcase", "trophy", "1")
SAME_NAMES = sentence("Nobody could say why the lost _ stood there all night long.", "trophy", "suitcase")
ALONE = sentence("The cat sat on the mat as the _ was soft.", "cat", "mat", "2")


def test_winogrande_holds_out_what_neither_is_in_training_nor_has_a_twin_there(load):
    splits = load(
        "winogrande",
        {
            "train": [TWIN],
            "l_train": [TWIN],
            "xl_train": [ALONE, ITS_TWIN, TWIN, SAME_NAMES],
            "test": [sentence("Ann thanked Eve since _ had helped.", "Ann", "Eve", "2")],
        },
    )
    assert [q.question_id for q in splits["validation"]] == ["validation-0", "validation-3"]
    assert [q.answer for q in splits["validation"]] == [1, 0]
    assert [q.options for q in splits["train"]] == [("trophy", "suitcase")]
    assert splits["test"][0].answer == 1


def test_winogrande_validation_is_the_same_for_all_sizes(load):
    shared = {"l_train": [TWIN, ALONE], "xl_train": [ALONE, SAME_NAMES, TWIN], "test": [ALONE]}
    small, large = (load("winogrande", {"train": train, **shared}) for train in ([TWIN], [TWIN, ALONE]))
    assert (
        [q.question for q in small["validation"]]
        == [q.question for q in large["validation"]]
        == [SAME_NAMES["sentence"]]
    )
    assert small["test"][0].group not in {q.group for q in small["train"]}
    assert large["test"][0].group in {q.group for q in large["train"]}
