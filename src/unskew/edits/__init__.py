"""Changes of weights, and maps of activations, that are computed, not trained."""

from unskew.registry import Table

EDITS = Table(
    "edits",
    {
        "dare": "unskew.edits.dare:Dare",
        "linear": "unskew.edits.linear:Linear",
        "masked_merge": "unskew.edits.masked:MaskedMerge",
        "masked_negate": "unskew.edits.masked:MaskedNegate",
        "negation": "unskew.edits.negation:Negation",
        "ties": "unskew.edits.ties:Ties",
    },
)
PROJECTIONS = Table(
    "projections",
    {
        "inlp": "unskew.edits.inlp:Inlp",
        "leace": "unskew.edits.leace:Leace",
        "sentence_debias": "unskew.edits.sentence_debias:SentenceDebias",
    },
)
