"""CEB Selection: which of two descriptions is the more serious stereotype (or more toxic)?

Source: Wang et al. 2024, arXiv 2407.02408; data without a stated licence.
"""

from __future__ import annotations

from unskew.benchmarks._numbered import NumberedBenchmark

__all__ = ["CEBSelection"]


class CEBSelection(NumberedBenchmark):
    """Micro-F1 of naming the stereotype among two descriptions of a context; chance is 50.

    Variants, metrics, arguments and errors are those of `NumberedBenchmark`: `rank` by likelihood,
    `generated` by a greedy reply of 8 tokens.

    Source: Wang et al. 2024, arXiv 2407.02408, section 3. Departs: `rank`, for models that are not
    tuned to answer; a reply that cannot be read is wrong and counted.
    """

    name = "ceb_selection"
    tasks = ("selection",)
