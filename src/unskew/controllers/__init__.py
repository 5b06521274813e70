"""Small state machines: measured history in, next phase or stop out."""

from unskew.registry import Table

CONTROLLERS = Table(
    "controllers",
    {
        "dynamic_swap": "unskew.controllers.dynamic_swap:DynamicSwap",
        "early_stop": "unskew.controllers.early_stop:EarlyStop",
    },
)
