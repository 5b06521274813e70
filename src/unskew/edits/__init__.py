"""Changes of weights that are computed, not trained."""

from unskew.registry import Table

EDITS = Table(
    "edits",
    {
        "dare": "unskew.edits.dare:Dare",
        "linear": "unskew.edits.linear:Linear",
        "negation": "unskew.edits.negation:Negation",
        "ties": "unskew.edits.ties:Ties",
    },
)
