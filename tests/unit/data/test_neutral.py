import re

from unskew.data.neutral import neutral_documents

PERSONAL = """he she him her his hers i we you man men woman women boy girl people person mother
    father wife husband jew christian muslim hindu nurse doctor baker gardener nation king"""


def test_the_neutral_text_is_varied_and_names_nobody():
    documents = neutral_documents()
    assert len({document.text for document in documents}) == 120
    assert len({document.id for document in documents}) == 120
    for document in documents:
        words = set(re.findall(r"[a-z]+", document.text.lower()))
        assert not words & set(PERSONAL.split()), document.text
        assert 6 <= len(document.text.split()) <= 24
        assert document.text.endswith(".")
