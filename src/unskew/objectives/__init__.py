"""What to minimise. One file and one line here make a new objective."""

from unskew.registry import Table

OBJECTIVES = Table(
    "objectives",
    {
        "biasunlearn": "unskew.objectives.biasunlearn:BiasUnlearn",
        "dpo": "unskew.objectives.dpo:Dpo",
        "even": "unskew.objectives.even:Even",
        "likelihood": "unskew.objectives.likelihood:Likelihood",
        "sim_npo": "unskew.objectives.sim_npo:SimNpo",
    },
)
