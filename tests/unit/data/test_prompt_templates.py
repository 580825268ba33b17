import json
from pathlib import Path

import pytest

from bayesgrid.data.choice_questions import ChoiceQuestion
from bayesgrid.data.prompt_templates import TEMPLATES, render_prompt, template_version
from bayesgrid.errors import ConfigurationError

FROZEN = json.loads((Path(__file__).parent / "frozen_template_versions.json").read_text())


def test_wording_is_frozen():
    # Another wording is another experiment: raise the version of the data sets that use the template.
    assert {name: template_version(name) for name in TEMPLATES} == FROZEN


def test_versions_tell_templates_apart():
    assert len(set(FROZEN.values())) == len(TEMPLATES)


def test_a_question_shows_the_options_it_has():
    question = ChoiceQuestion("q", "Which?", ("one", "two", "three"), 2)
    assert render_prompt("lettered_choices", question, tuple("ABCDE")) == (
        "Pick the right option for this question. Reply with its letter and nothing else.\n"
        "Which?\nChoices:\nA) one\nB) two\nC) three"
    )


@pytest.mark.parametrize("text", ["is it so", "is it so?"])
def test_passages_come_before_their_question_which_has_one_question_mark(text):
    question = ChoiceQuestion("q", text, ("false", "true"), 1, passage="It is.")
    assert render_prompt("passage_true_false", question, ("false", "true")) == (
        "Here is a passage and a question about it. Reply with one word, false or true.\n"
        "Passage: It is.\nQuestion: is it so?"
    )


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_no_prompt_depends_on_the_answer_or_ends_in_white_space(template):
    labels = ("false", "true")
    prompts = {
        render_prompt(template, ChoiceQuestion("q", "Is it", labels, answer, passage="P"), labels) for answer in (0, 1)
    }
    assert len(prompts) == 1
    assert all(prompt == prompt.strip() and "Is it" in prompt for prompt in prompts)


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'image_letter'"):
        render_prompt("image_leter", ChoiceQuestion("q", "?", ("a", "b"), 0), ("A", "B"))
