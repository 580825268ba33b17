import re
from functools import reduce

import pytest

from bayesgrid.data.choice_questions import ChoiceQuestions
from bayesgrid.data.logic_questions import draw_logic_questions
from bayesgrid.data.question_leakage import find_question_leaks, require_no_question_leaks
from bayesgrid.data.seeded_splits import draw_splits
from bayesgrid.errors import DataError
from bayesgrid.grid.question_sets import SeedBlocks

SMALL = SeedBlocks(train=40, validation=20, test=20)
LEAKED = SeedBlocks(train_seed=42, validation_seed=43, test_seed=44, deduplicate=False)


def as_set(splits):
    return ChoiceQuestions("logic", "v1-0", ("0", "1"), "logic_output", splits)


def evaluate(question):
    """The value of the expression in ``question``, read from its text alone."""
    _, expression, legend, inputs, _ = question.split("\n\n")
    assert all(sign in legend or sign == ">o" for sign in re.findall(r"(&&|↑↑|↓↓|⊕⊕|\+\+|>o)", expression))
    values = {name: int(bit) for name, bit in re.findall(r"(\w+) = ([01])", inputs)}
    gates = {
        "&&": all,
        "↑↑": lambda bits: not all(bits),
        "⊕⊕": lambda bits: reduce(lambda a, b: a ^ b, map(int, bits)),
        "++": any,
        "↓↓": lambda bits: not any(bits),
    }

    def gate(text, parts):
        signs = set(re.findall(r"&&|↑↑|↓↓|⊕⊕|\+\+", text))
        assert len(signs) <= 1
        return int(gates[signs.pop()](parts)) if signs else parts[0]

    terms = re.findall(r"\(([^)]*)\)", expression)
    results = []
    for term in terms:
        literals = re.split(r"&&|↑↑|⊕⊕", term)
        results.append(gate(term, [values[part.removesuffix(">o")] ^ part.endswith(">o") for part in literals]))
    return gate(re.sub(r"\([^)]*\)", "", expression), results)


def test_the_answer_of_every_expression_is_its_value():
    splits, packages = draw_logic_questions("expression_logic", SMALL)
    questions = [question for rows in splits.values() for question in rows]
    assert [evaluate(question.question) for question in questions] == [question.answer for question in questions]
    assert {question.answer for question in questions} == {0, 1}
    assert set(packages) == {"reasoning_gym"}


def test_circuit_and_expression_of_a_seed_are_the_same_problem():
    circuits, expressions = (draw_logic_questions(name, SMALL)[0] for name in ("circuit_logic", "expression_logic"))
    for circuit, expression in zip(circuits["test"], expressions["test"], strict=True):
        assert (circuit.question_id, circuit.group, circuit.answer) == (
            expression.question_id,
            expression.group,
            expression.answer,
        )
        assert "logic circuit." in circuit.question
        assert "─" in circuit.question
        assert "logic expression." in expression.question
        assert "─" not in expression.question
        assert (
            circuit.question[circuit.question.index("Legend") :]
            == expression.question[expression.question.index("Legend") :]
        )


def test_more_questions_extend_fewer():
    few, more = (draw_logic_questions("expression_logic", SeedBlocks(train=n, validation=0, test=0))[0] for n in (5, 9))
    assert more["train"][:5] == few["train"]
    assert list(few) == ["train"]


@pytest.mark.parametrize("name", ["circuit_logic", "expression_logic"])
def test_seeds_of_the_reference_put_all_held_out_questions_into_training(name):
    report = find_question_leaks(as_set(draw_logic_questions(name, LEAKED)[0]))
    for first, second, number in [("train", "validation", 1000), ("train", "test", 1000), ("validation", "test", 999)]:
        leak = report.between(first, second)
        assert (leak.equal_questions, leak.equal_answers, leak.questions_of_shared_groups) == (number,) * 3
    with pytest.raises(DataError, match=r"1000 questions of 'validation' stand in 'train' with their answer"):
        require_no_question_leaks(report)


@pytest.mark.parametrize("name", ["circuit_logic", "expression_logic"])
def test_blocks_of_seeds_share_nothing(name):
    report = find_question_leaks(as_set(draw_logic_questions(name, SeedBlocks())[0]))
    assert all((leak.equal_prompts, leak.equal_answers, leak.shared_groups) == (0, 0, 0) for leak in report.leaks)
    require_no_question_leaks(report)


def test_overlapping_blocks_share_nothing_once_repetitions_are_passed_over():
    overlapping = LEAKED.model_copy(update={"train": 30, "validation": 10, "test": 10, "deduplicate": True})
    splits, _ = draw_logic_questions("expression_logic", overlapping)
    assert [question.question_id for question in splits["validation"]] == [
        f"validation-{seed}" for seed in range(72, 82)
    ]
    require_no_question_leaks(find_question_leaks(as_set(splits)))


def test_a_generator_that_runs_out_says_so():
    question = draw_logic_questions("expression_logic", SMALL)[0]["train"][0]
    with pytest.raises(DataError, match="too few different questions; given: 1 of 2"):
        draw_splits(SeedBlocks(train=2, validation=0, test=0), lambda *_: question, generator="one")
