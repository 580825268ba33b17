import pytest

from bayesgrid.errors import DataError
from bayesgrid.models.label_tokens import label_token_ids, labels_of_several_tokens
from bayesgrid.models.prompt_tokens import full_prompts

LABELS = ("A", "B", "C", "D")
TEXTS = ["Is the sky blue? A) yes B) no", "Which is a fruit? A) stone B) apple"]


def test_label_after_a_word_is_the_token_with_its_space(tokenizer):
    ids = label_token_ids(tokenizer, full_prompts(tokenizer, TEXTS, "base"), LABELS, where="tiny")
    assert tokenizer.convert_ids_to_tokens(list(ids)) == ["ĠA", "ĠB", "ĠC", "ĠD"]
    assert set(ids).isdisjoint(tokenizer.convert_tokens_to_ids(list(LABELS)))


def test_label_at_the_start_of_a_turn_is_the_bare_token(tokenizer):
    ids = label_token_ids(tokenizer, full_prompts(tokenizer, TEXTS, "instruct"), LABELS, where="tiny")
    assert list(ids) == tokenizer.convert_tokens_to_ids(list(LABELS))


def test_label_right_after_a_special_token_is_the_bare_token(tokenizer):
    ids = label_token_ids(tokenizer, ["<bos>hello<|model|>"], LABELS, where="tiny")
    assert list(ids) == tokenizer.convert_tokens_to_ids(list(LABELS))


@pytest.mark.parametrize("form", ["base", "instruct"])
def test_label_token_is_what_the_tokenizer_reads_after_the_prompt(tokenizer, form):
    prompts = full_prompts(tokenizer, TEXTS, form)
    space = " " if form == "base" else ""
    for label, token in zip(LABELS, label_token_ids(tokenizer, prompts, LABELS, where="tiny"), strict=True):
        for prompt in prompts:
            assert tokenizer(f"{prompt}{space}{label}", add_special_tokens=False)["input_ids"][-1] == token


def test_label_of_several_tokens_is_refused_with_its_tokens(tokenizer):
    with pytest.raises(DataError, match=r"tiny data.*tokens, not one.*' zebra'"):
        label_token_ids(tokenizer, full_prompts(tokenizer, TEXTS, "base"), ["A", "zebra"], where="tiny data")


def test_labels_that_are_one_token_in_some_place_pass_before_there_is_a_prompt(tiny_model_folder, tmp_path):
    folder = tiny_model_folder("llama")
    assert labels_of_several_tokens(folder, [*LABELS, "zebra"]) == ("zebra",)
    assert labels_of_several_tokens(tmp_path, ["zebra"]) == ()


def test_digit_that_the_tokenizer_keeps_apart_from_its_space_is_refused_after_a_word_only():
    vocabulary = {"<unk>": 0, ":": 1, "\n": 2, " ": 3, "0": 4, "1": 5}
    digits = _tokenizer_of(vocabulary)
    with pytest.raises(DataError, match="form of prompt 'instruct'"):
        label_token_ids(digits, [":"], ["0", "1"], where="tiny")
    assert label_token_ids(digits, [":\n"], ["0", "1"], where="tiny") == (4, 5)


def test_same_label_twice_is_refused(tokenizer):
    with pytest.raises(DataError, match="shares its token"):
        label_token_ids(tokenizer, full_prompts(tokenizer, TEXTS, "base"), ["A", "B", "A"], where="tiny")


def test_prompts_that_end_differently_are_refused(tokenizer):
    mixed = full_prompts(tokenizer, TEXTS[:1], "base") + full_prompts(tokenizer, TEXTS[:1], "instruct")
    with pytest.raises(DataError, match=r"prompt 1.*other tokens"):
        label_token_ids(tokenizer, mixed, LABELS, where="tiny")


def _tokenizer_of(vocabulary, merges=()):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocabulary, list(merges), unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def test_label_that_merges_with_the_prompt_is_refused():
    merging = _tokenizer_of({"<unk>": 0, "x": 1, "\n": 2, "A": 3, "\nA": 4, "B": 5}, [("\n", "A")])
    with pytest.raises(DataError, match="changes the tokens of the prompt"):
        label_token_ids(merging, ["x\n"], ["A"], where="tiny")
    assert label_token_ids(merging, ["x\n"], ["B"], where="tiny") == (5,)


def test_label_that_the_tokenizer_does_not_know_is_refused():
    with pytest.raises(DataError, match="does not know the label"):
        label_token_ids(_tokenizer_of({"<unk>": 0, "x": 1, "\n": 2}), ["x\n"], ["A"], where="tiny")


@pytest.mark.parametrize(("prompts", "labels"), [([], LABELS), (["x"], [])])
def test_nothing_to_look_at_is_an_error(tokenizer, prompts, labels):
    with pytest.raises(DataError, match="at least one"):
        label_token_ids(tokenizer, prompts, labels, where="tiny")
