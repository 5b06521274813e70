"""How strongly each weight is held responsible, and for what it is then chosen."""

from unskew.registry import Table

SALIENCIES = Table(
    "saliencies",
    {
        "delta": "unskew.saliency.criteria:Delta",
        "fisher": "unskew.saliency.criteria:Fisher",
        "grad": "unskew.saliency.criteria:Grad",
        "grad_delta": "unskew.saliency.criteria:GradDelta",
        "grad_weight": "unskew.saliency.criteria:GradWeight",
    },
)
