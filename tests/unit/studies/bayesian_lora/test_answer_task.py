"""Which questions are learnt, which are held out, and which are answered."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, chosen_questions, divide_labels


def _task(groups: list[str]) -> AnswerTask:
    count = len(groups)
    return AnswerTask(
        questions=tuple(f"q{row}" for row in range(count)),
        prompts=tuple(np.arange(3) for _ in range(count)),
        shared_prefix=0,
        answers=np.zeros(count, dtype=np.int64),
        options=np.full(count, 2),
        labels=("A", "B"),
        label_tokens=(1, 2),
        groups=tuple(groups),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=8, max_size=60),
    st.floats(0.05, 0.6),
    st.one_of(st.none(), st.integers(4, 8)),
)
def test_no_group_stands_on_both_sides_and_the_budget_is_kept(groups, fraction, budget):
    learnt, held_out = divide_labels(_task(groups), budget, fraction)
    assert len(learnt) + len(held_out) == (budget or len(groups))
    assert not set(learnt) & set(held_out)
    assert len(held_out) >= max(1, round((budget or len(groups)) * fraction))
    named = [{groups[row] for row in side} - {""} for side in (learnt, held_out)]
    assert not named[0] & named[1]


def test_questions_that_stand_alone_are_held_out_in_exactly_the_share_asked_for():
    for groups in ([""] * 50, [f"g{row}" for row in range(50)]):
        learnt, held_out = divide_labels(_task(groups), None, 0.2)
        assert (len(learnt), len(held_out)) == (40, 10)


def test_smaller_choices_are_nested_in_larger_ones():
    small, large = set(chosen_questions(100, 20, "test")), set(chosen_questions(100, 60, "test"))
    assert small < large
    assert set(chosen_questions(100, 20, "other")) != small
