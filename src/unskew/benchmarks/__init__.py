"""Questions and their scoring. One file and one line here make a new benchmark."""

from unskew.registry import Table

BENCHMARKS = Table(
    "benchmarks",
    {
        "amazon_polarity": "unskew.benchmarks.understanding:AmazonPolarity",
        "amazon_polarity_generated": (
            "unskew.benchmarks.understanding_generated:AmazonPolarityGenerated"
        ),
        "bbq": "unskew.benchmarks.bbq:BBQ",
        "bbq_generated": "unskew.benchmarks.bbq_generated:BBQGenerated",
        "bold": "unskew.benchmarks.bold:BOLD",
        "ceb_continuation": "unskew.benchmarks.ceb_continuation:CEBContinuation",
        "ceb_conversation": "unskew.benchmarks.ceb_conversation:CEBConversation",
        "ceb_recognition": "unskew.benchmarks.ceb_recognition:CEBRecognition",
        "ceb_selection": "unskew.benchmarks.ceb_selection:CEBSelection",
        "cola": "unskew.benchmarks.understanding:CoLA",
        "cola_generated": "unskew.benchmarks.understanding_generated:CoLAGenerated",
        "crows_pairs": "unskew.benchmarks.crows_pairs:CrowsPairs",
        "crows_pairs_revised": "unskew.benchmarks.crows_pairs_revised:CrowsPairsRevised",
        "divergence": "unskew.benchmarks.divergence:DivergenceFromReference",
        "fairmt": "unskew.benchmarks.fairmt:FairMT",
        "flute": "unskew.benchmarks.understanding:FLUTE",
        "flute_generated": "unskew.benchmarks.understanding_generated:FLUTEGenerated",
        "generation": "unskew.benchmarks.generation:SampledText",
        "holistic_bias": "unskew.benchmarks.holistic_bias:HolisticBias",
        "mrpc": "unskew.benchmarks.understanding:MRPC",
        "mrpc_generated": "unskew.benchmarks.understanding_generated:MRPCGenerated",
        "mt_bench": "unskew.benchmarks.mt_bench:MTBench",
        "perplexity": "unskew.benchmarks.perplexity:Perplexity",
        "reasoning": "unskew.benchmarks.reasoning:Reasoning",
        "rte": "unskew.benchmarks.understanding:RTE",
        "rte_generated": "unskew.benchmarks.understanding_generated:RTEGenerated",
        "seat": "unskew.benchmarks.seat:SEAT",
        "slot": "unskew.benchmarks.slot:Slot",
        "sst2": "unskew.benchmarks.understanding:SST2",
        "sst2_generated": "unskew.benchmarks.understanding_generated:SST2Generated",
        "stereoset": "unskew.benchmarks.stereoset:StereoSet",
        "winobias": "unskew.benchmarks.winobias:WinoBias",
        "winogender": "unskew.benchmarks.winogender:Winogender",
    },
)
