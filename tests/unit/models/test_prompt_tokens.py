import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.models.prompt_tokens import full_prompts, length_buckets, token_buckets, tokenise

TEXTS = ["Is the sky blue? A) yes B) no", "Which is a fruit? A) stone B) apple", "Is the sea green? A) yes"]


def test_instruct_prompt_is_the_users_turn_with_the_models_turn_opened(tokenizer):
    (prompt,) = full_prompts(tokenizer, ["hello"], "instruct")
    # The template closes an empty thinking phase when it is told not to think.
    assert prompt == "<bos><|user|>\nhello\n<|model|>\n<eos>\n"


def test_template_that_knows_no_thinking_is_rendered_without_it(tokenizer):
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}!"
    assert full_prompts(plain, ["hello"], "instruct") == ["[user] hello!"]


def test_base_prompt_asks_for_the_answer_and_spells_the_first_token_out(tokenizer):
    assert full_prompts(tokenizer, ["hello"], "base") == ["<bos>hello\nAnswer:"]


def test_base_prompt_of_a_tokenizer_without_first_token_has_none(tokenizer):
    import copy

    from tokenizers import processors

    bare = copy.deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert full_prompts(bare, ["hello"], "base") == ["hello\nAnswer:"]


def test_tokenised_base_prompt_is_what_the_tokenizer_makes_of_the_text(tokenizer):
    found = tokenise(tokenizer, full_prompts(tokenizer, TEXTS, "base")).ids
    for ids, text in zip(found, TEXTS, strict=True):
        assert ids.tolist() == tokenizer(f"{text}\nAnswer:")["input_ids"]


def test_tokenised_chat_is_what_the_template_makes_of_it_at_once(tokenizer):
    found = tokenise(tokenizer, full_prompts(tokenizer, TEXTS, "instruct")).ids
    for ids, text in zip(found, TEXTS, strict=True):
        whole = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, enable_thinking=False, return_dict=True
        )
        assert ids.tolist() == whole["input_ids"]
        assert ids.dtype == np.int64


def test_missing_chat_template_is_named(tokenizer):
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    plain.name_or_path = "somewhere/tiny"
    with pytest.raises(DataError, match=r"somewhere/tiny.*no chat template.*'base'"):
        full_prompts(plain, TEXTS, "instruct")


def test_unknown_form_names_the_nearest(tokenizer):
    with pytest.raises(ConfigurationError, match="did you mean 'instruct'"):
        full_prompts(tokenizer, TEXTS, "instruction")


class _Characters:
    """A tokenizer whose tokens are characters, so that prefixes can be counted by eye."""

    def __call__(self, texts, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=5))
def test_shared_prefix_is_the_longest_that_leaves_a_token_in_every_prompt(prompts):
    longest = max(
        length
        for length in range(min(len(p) for p in prompts))
        if all(p[:length] == prompts[0][:length] for p in prompts)
    )
    assert tokenise(_Characters(), prompts).shared_prefix == longest


@pytest.mark.parametrize("prompts", [[], [""], ["a", ""]])
def test_nothing_to_read_is_an_error(prompts):
    with pytest.raises(DataError, match=r"no prompt|no token"):
        tokenise(_Characters(), prompts)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 9))
def test_buckets_hold_every_prompt_once_and_grow_in_length(lengths, rows):
    buckets = length_buckets(lengths, rows)
    order = np.concatenate(buckets) if buckets else np.array([], dtype=int)
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths)
    assert all(len(bucket) == rows for bucket in buckets[:-1])


def test_batch_without_rows_is_refused():
    with pytest.raises(ConfigurationError, match="at least one row"):
        length_buckets([1, 2], 0)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120), st.integers(1, 4))
def test_batches_are_as_full_as_the_bound_on_tokens_allows(lengths, tokens, copies):
    batches = [[lengths[i] for i in batch] for batch in token_buckets(lengths, tokens, copies=copies)]
    assert [length for batch in batches for length in batch] == sorted(lengths)
    for batch in batches:
        assert copies * len(batch) * max(batch) <= tokens or len(batch) == 1
    for batch, following in itertools.pairwise(batches):
        assert copies * (len(batch) + 1) * following[0] > tokens


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"tokens": 5, "copies": 0}])
def test_batch_without_tokens_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="at least one token"):
        token_buckets([1, 2], **wrong)
