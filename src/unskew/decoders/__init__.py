"""Changes of what a model says that leave its weights alone."""

from unskew.registry import Table

DECODERS = Table(
    "decoders",
    {
        "cafie": "unskew.decoders.cafie:Cafie",
        "self_debias": "unskew.decoders.self_debias:SelfDebias",
    },
)
