import pytest

from unskew.data.completion import fill_template, follow, normalise, word_prefix


@pytest.mark.parametrize(
    ("texts", "end"),
    [
        (("He is a nurse.", "He is a doctor."), len("He is a")),
        (("He is.", "She is."), 0),
        (("the cat sat", "the catalogue sat"), len("the")),
        (("He is", "He is kind"), len("He")),
        (("one", "one"), 0),
        (("a  b c", "a b c"), len("a")),
    ],
)
def test_word_prefix_ends_with_a_word_and_leaves_one(texts, end):
    assert word_prefix(texts) == end


def test_a_template_is_cut_before_the_space_in_front_of_blank():
    texts = ("The ethiopian was kind.", "The ethiopian was poor.")
    assert fill_template("The Ethiopian was BLANK.", texts, strict=True) == (17, None)
    assert texts[0][17:] == " kind."


def test_a_blank_at_the_start_leaves_no_context():
    assert fill_template("BLANK is bad", ("Love is bad", "Hate is bad"), strict=True) == (0, None)


@pytest.mark.parametrize(
    ("template", "texts", "start", "reason"),
    [
        ("A BLANK is BLANK.", ("A dog is dog.", "A cat is cat."), 1, "more than once"),
        ("Both go.BLANK", ("Both go.cat", "Both go.dog"), 4, "no space before"),
        ("so `BLANK", ("so `cat", "so `dog"), 2, "no space before"),
        ("He is BLANK", ("He is kind", "She is kind"), 0, "does not start"),
        ("HE is BLANK", ("He is kind", "he is kind"), 0, "does not start"),
        ("He is BLANK", ("He is ", "He is kind"), 2, "does not start"),
    ],
)
def test_what_cannot_be_cut_at_blank_says_why_and_is_cut_at_the_words(
    template, texts, start, reason
):
    found, why = fill_template(template, texts, strict=False)
    assert found == start
    assert why is not None and reason in why


def test_the_end_of_the_template_matters_only_when_strict():
    texts = ("It is a sherpa as a sherpa.", "It is a car as a car.")
    template = "It is a BLANK as a Blank."
    assert fill_template(template, texts, strict=False) == (7, None)
    assert fill_template(template, texts, strict=True)[1] == (
        "a sentence does not end like its context"
    )


def test_follow_joins_with_one_space_and_cuts_before_it():
    start, texts = follow("He came. ", (" He sat.", "He stood."))
    assert texts == ("He came. He sat.", "He came. He stood.")
    assert start == len("He came.")


def test_normalise_forgets_case_punctuation_and_spacing_only():
    assert normalise("  The NURSE, was  kind! ") == normalise("the nurse was kind")
    assert normalise("cannot") != normalise("can not")
    assert normalise("!?") == "!?"


def test_normalise_keeps_vowel_signs():
    assert normalise("\u0915\u093f") != normalise("\u0915\u093e")
