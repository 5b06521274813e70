"""How gradients of the parts become one step, and which parameters may move."""

from unskew.registry import Table

UPDATES = Table("updates", {"plain": "unskew.updates.plain:PlainRule"})
SCOPES = Table(
    "scopes",
    {
        "full": "unskew.updates.scope:FullScope",
        "lora": "unskew.updates.scope:LoraScope",
        "masked": "unskew.updates.masked:MaskedScope",
    },
)
