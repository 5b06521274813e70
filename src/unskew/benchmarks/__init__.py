"""Questions and their scoring. One file and one line here make a new benchmark."""

from unskew.registry import Table

BENCHMARKS = Table(
    "benchmarks",
    {
        "bbq": "unskew.benchmarks.bbq:BBQ",
        "ceb_continuation": "unskew.benchmarks.ceb_continuation:CEBContinuation",
        "ceb_conversation": "unskew.benchmarks.ceb_conversation:CEBConversation",
        "ceb_recognition": "unskew.benchmarks.ceb_recognition:CEBRecognition",
        "ceb_selection": "unskew.benchmarks.ceb_selection:CEBSelection",
        "crows_pairs": "unskew.benchmarks.crows_pairs:CrowsPairs",
        "divergence": "unskew.benchmarks.divergence:DivergenceFromReference",
        "generation": "unskew.benchmarks.generation:SampledText",
        "perplexity": "unskew.benchmarks.perplexity:Perplexity",
        "reasoning": "unskew.benchmarks.reasoning:Reasoning",
        "slot": "unskew.benchmarks.slot:Slot",
        "stereoset": "unskew.benchmarks.stereoset:StereoSet",
    },
)
