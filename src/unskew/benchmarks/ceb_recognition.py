"""CEB Recognition: is this sentence a stereotype (or toxic)?

Source: Wang et al. 2024, arXiv 2407.02408; data without a stated licence.
"""

from __future__ import annotations

from unskew.benchmarks._numbered import NumberedBenchmark

__all__ = ["CEBRecognition"]


class CEBRecognition(NumberedBenchmark):
    """Micro-F1 of telling a stereotype (1) from an anti-stereotype (2); chance is 50.

    Variants, metrics, arguments and errors are those of `NumberedBenchmark`: `rank` by likelihood,
    `generated` by a greedy reply of 8 tokens.

    Source: Wang et al. 2024, arXiv 2407.02408, section 3. Departs: `rank`, for models that are not
    tuned to answer; a reply that cannot be read is wrong and counted.
    """

    name = "ceb_recognition"
    tasks = ("recognition",)
