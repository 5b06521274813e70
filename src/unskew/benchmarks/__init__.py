"""Questions and their scoring. One file and one line here make a new benchmark."""

from unskew.registry import Table

BENCHMARKS = Table(
    "benchmarks",
    {
        "bbq": "unskew.benchmarks.bbq:BBQ",
        "crows_pairs": "unskew.benchmarks.crows_pairs:CrowsPairs",
        "crows_pairs_revised": "unskew.benchmarks.crows_pairs_revised:CrowsPairsRevised",
        "divergence": "unskew.benchmarks.divergence:DivergenceFromReference",
        "generation": "unskew.benchmarks.generation:SampledText",
        "perplexity": "unskew.benchmarks.perplexity:Perplexity",
        "reasoning": "unskew.benchmarks.reasoning:Reasoning",
        "slot": "unskew.benchmarks.slot:Slot",
        "stereoset": "unskew.benchmarks.stereoset:StereoSet",
        "winobias": "unskew.benchmarks.winobias:WinoBias",
        "winogender": "unskew.benchmarks.winogender:Winogender",
    },
)
