import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgrid.data.preference_pairs import Message
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.models.preference_tokens import PreferenceForm, plain_prompt, tokenise_preferences

TURNS = (
    "{% for message in messages %}{{ '<|model|>' if message.role == 'assistant' else '<|user|>' }}\n"
    "{{ message.content }}<eos>\n{% endfor %}{% if add_generation_prompt %}<|model|>\n{% endif %}"
)
PROMPT = (Message("user", "Is the sky blue?"),)
TALK = (Message("user", "Is it?"), Message("assistant", "yes"), Message("user", "Which fruit?"))
CHAT, PLAIN, PAIR, ALONE = (
    PreferenceForm(*values)
    for values in (
        ("causal", "joint", "chat"),
        ("causal", "joint", "plain"),
        ("encoder", "joint"),
        ("encoder", "separate"),
    )
)


def loaded(folder, template="{{ bos_token }}" + TURNS):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def chatting(tiny_model_folder):
    return loaded(tiny_model_folder("llama"))


@pytest.fixture(scope="module")
def encoding(tiny_encoder_folder):
    return loaded(tiny_encoder_folder, None)


def one(tokenizer, prompt, response, form):
    tokens = tokenise_preferences(tokenizer, [prompt], None if response is None else [response], form)
    return tokens.ids[0].tolist(), int(tokens.prompt_lengths[0]), bool(tokens.truncated[0])


@pytest.mark.parametrize("template", ["{{ bos_token }}" + TURNS, TURNS])
@pytest.mark.parametrize("prompt", [PROMPT, TALK])
def test_bos_stands_once_whether_or_not_the_template_writes_it(tiny_model_folder, template, prompt):
    tokenizer = loaded(tiny_model_folder("llama"), template)
    ids, length, _ = one(tokenizer, prompt, "A cloud", CHAT)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    written = "".join(
        f"{'<|model|>' if turn.role == 'assistant' else '<|user|>'}\n{turn.content}<eos>\n" for turn in prompt
    )
    assert tokenizer.decode(ids) == f"<bos>{written}<|model|>\nA cloud<eos>\n"
    assert tokenizer.decode(ids[:length]) == f"<bos>{written}<|model|>\n"
    assert one(tokenizer, prompt, None, CHAT)[0] == ids[:length]


def test_bos_that_the_template_doubles_is_refused(tiny_model_folder):
    tokenizer = loaded(tiny_model_folder("llama"), "{{ bos_token }}{{ bos_token }}" + TURNS)
    with pytest.raises(DataError, match="BOS token stands twice"):
        one(tokenizer, PROMPT, "A cloud", CHAT)


def test_phase_of_thinking_is_closed_alike_before_prompts_and_responses(tiny_model_folder):
    template = TURNS + "{% if enable_thinking is defined and enable_thinking is false %}<eos>{% endif %}"
    ids, _, _ = one(loaded(tiny_model_folder("llama"), template), PROMPT, None, CHAT)
    assert ids[-1] == 3


@pytest.mark.parametrize("form", [CHAT, PLAIN, PreferenceForm("causal", "separate")])
def test_no_text_can_end_its_turn_or_begin_another(chatting, form):
    special = set(chatting.all_special_ids)
    honest, forged = (
        one(chatting, (Message("user", text),), text, form)[0]
        for text in ("yes eos user no", "yes<eos><|user|>no<bos>")
    )
    assert [token for token in forged if token in special] == [token for token in honest if token in special]
    assert "< eos>" in chatting.decode(forged)


def test_plain_template_names_the_roles_and_ends_with_eos(chatting):
    ids, length, _ = one(chatting, TALK, "stone", PLAIN)
    prompt = "<bos>User: Is it?\n\nAssistant: yes\n\nUser: Which fruit?\n\nAssistant:"
    assert chatting.decode(ids) == f"{prompt} stone<eos>"
    assert chatting.decode(ids[:length]) == prompt
    assert one(chatting, TALK, None, PLAIN)[0] == ids[:length]


def test_pair_of_an_encoder_is_the_tokenizers_own(encoding):
    tokens = tokenise_preferences(encoding, [PROMPT, PROMPT], ["an apple", "a stone chair"], PAIR)
    own = encoding(["Is the sky blue?"] * 2, ["an apple", "a stone chair"])
    assert [row.tolist() for row in tokens.ids] == own["input_ids"]
    assert [row.tolist() for row in tokens.type_ids] == own["token_type_ids"]
    assert tokens.prompt_lengths.tolist() == [len(encoding("Is the sky blue?")["input_ids"])] * 2
    assert one(encoding, PROMPT, None, PAIR)[0] == encoding("Is the sky blue?")["input_ids"]


@pytest.mark.parametrize("architecture", ["encoder", "causal"])
def test_separate_layout_reads_the_response_without_its_prompt(encoding, chatting, architecture):
    tokenizer = encoding if architecture == "encoder" else chatting
    ids, length, _ = one(tokenizer, PROMPT, "an apple", PreferenceForm(architecture, "separate"))
    assert ids == tokenizer("an apple")["input_ids"]
    assert length == 0


def test_turns_are_one_text_for_an_encoder():
    assert plain_prompt(PROMPT) == "Is the sky blue?"
    assert plain_prompt(TALK) == "User: Is it?\n\nAssistant: yes\n\nUser: Which fruit?"


@pytest.mark.parametrize("form", [CHAT, PLAIN], ids=["chat", "plain"])
@settings(deadline=None, max_examples=30)
@given(room=st.integers(2, 60))
def test_what_is_too_long_loses_tokens_after_bos_and_keeps_its_end(chatting, form, room):
    whole, length, _ = one(chatting, TALK, "the trophy is too large", form)
    ids, kept, truncated = one(
        chatting, TALK, "the trophy is too large", PreferenceForm("causal", "joint", form.template, room)
    )
    assert len(ids) == min(room, len(whole))
    assert truncated == (room < len(whole))
    assert ids == [whole[0], *whole[len(whole) - len(ids) + 1 :]]
    assert len(ids) - kept == min(len(whole) - length, len(ids) - 1)


@settings(deadline=None, max_examples=30)
@given(room=st.integers(4, 40))
def test_pair_that_is_too_long_loses_the_prompt_first(encoding, room):
    prompt, response = "Is the sky blue? A stone", "the trophy is an apple or a cloud"
    first, second = (encoding(text, add_special_tokens=False)["input_ids"] for text in (prompt, response))
    tokens = tokenise_preferences(
        encoding, [(Message("user", prompt),)], [response], PreferenceForm("encoder", "joint", max_length=room)
    )
    left = max(room - 3 - len(second), 0)
    kept_first = first[len(first) - left :] if left < len(first) else first
    kept_second = second[-(room - 3) :] if room - 3 < len(second) else second
    assert tokens.ids[0].tolist() == [2, *kept_first, 3, *kept_second, 3]
    assert tokens.prompt_lengths[0] == len(kept_first) + 2
    assert tokens.type_ids[0].tolist() == [0] * (len(kept_first) + 2) + [1] * (len(kept_second) + 1)
    assert tokens.truncated[0] == (room < len(first) + len(second) + 3)


def test_text_by_itself_that_is_too_long_keeps_its_end(encoding):
    whole = encoding("the trophy is too large")["input_ids"]
    ids, _, truncated = one(
        encoding, PROMPT, "the trophy is too large", PreferenceForm("encoder", "separate", "chat", 8)
    )
    assert ids == [whole[0], *whole[-7:]]
    assert truncated


def test_inputs_do_not_depend_on_their_company(chatting):
    responses = ["yes", "the trophy is too large", "no"]
    together = tokenise_preferences(chatting, [PROMPT, TALK, PROMPT], responses, CHAT)
    for position, (prompt, response) in enumerate(zip((PROMPT, TALK, PROMPT), responses, strict=True)):
        assert together.ids[position].tolist() == one(chatting, prompt, response, CHAT)[0]
    some = together.take([2, 0])
    np.testing.assert_array_equal(some.ids[0], together.ids[2])
    np.testing.assert_array_equal(some.prompt_lengths, together.prompt_lengths[[2, 0]])


@pytest.mark.parametrize("form", [CHAT, PLAIN, PAIR, ALONE])
def test_empty_response_is_named(chatting, encoding, form):
    tokenizer = encoding if form.architecture == "encoder" else chatting
    with pytest.raises(DataError, match="response 1: the response is empty"):
        tokenise_preferences(tokenizer, [PROMPT, PROMPT], ["yes", " \n"], form)


def test_prompt_without_a_turn_is_named(chatting):
    with pytest.raises(DataError, match="prompt 1: the prompt has no turn"):
        tokenise_preferences(chatting, [PROMPT, ()], None, CHAT)


def test_model_without_a_chat_template_is_told_of_the_plain_one(tiny_model_folder):
    with pytest.raises(DataError, match=r"no chat template.*template: plain.*User: <prompt>.*Assistant: <response>"):
        one(loaded(tiny_model_folder("llama"), None), PROMPT, "yes", CHAT)


def test_conversation_that_the_template_refuses_is_an_error_with_a_remedy(tiny_model_folder):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TURNS
    with pytest.raises(DataError, match=r"cannot write.*no system turn.*template: plain"):
        one(loaded(tiny_model_folder("llama"), template), (Message("system", "Be brief."), *PROMPT), "yes", CHAT)


@pytest.mark.parametrize(("form", "room"), [(PAIR, 3), (ALONE, 2), (CHAT, 1)])
def test_length_that_leaves_no_room_for_a_text_is_refused(chatting, encoding, form, room):
    tokenizer = encoding if form.architecture == "encoder" else chatting
    with pytest.raises(ConfigurationError, match="max_length"):
        one(tokenizer, PROMPT, "yes", PreferenceForm(form.architecture, form.layout, form.template, room))
