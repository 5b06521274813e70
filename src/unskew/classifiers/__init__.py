"""Raters of generated text. One file and one line here make a new classifier."""

from unskew.registry import Table

CLASSIFIERS = Table(
    "classifiers",
    {
        "text_classification": "unskew.classifiers.text_classification:TextClassification",
    },
)
