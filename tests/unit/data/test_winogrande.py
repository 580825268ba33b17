from bayesgrid.data.winogrande import twin_groups


def row(text, *candidates):
    return {"sentence": text, "option1": candidates[0], "option2": candidates[1]}


def test_twins_share_candidates_and_most_words_at_both_ends():
    rows = [
        row("Sue gave Eve the book because _ liked it very much", "Sue", "Eve"),
        row("Sue gave Eve the book because _ hated it very much", "Eve", "Sue"),
        row("Sue gave Eve the book because _ hated it very much", "Ann", "Eve"),
        row("Whenever _ sings the others leave for the garden", "Sue", "Eve"),
        row("Sue gave Eve the book because _ hated it too much", "sue", "eve"),
    ]
    groups = twin_groups(rows)
    assert groups[0] == groups[1] == groups[4]
    assert len(set(groups)) == 3


def test_words_that_agree_are_not_counted_twice():
    # All five words agree from the beginning; from the end they would again.
    short, long = "a a a a a", "a a a a a b b b b b b b b b a a a a a"
    assert len(set(twin_groups([row(short, "x", "y"), row(long, "x", "y")]))) == 1
    assert len(set(twin_groups([row("a b c d _", "x", "y"), row("a e f g _", "x", "y")]))) == 2
    assert len(set(twin_groups([row("a b c d _", "x", "y"), row("a b f d _", "x", "y")]))) == 1
