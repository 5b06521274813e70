"""CEB Conversation: does the model's text take up the stereotype it is given?

Source: Wang et al. 2024, arXiv 2407.02408; data without a stated licence.
"""

from __future__ import annotations

from unskew.benchmarks._ceb_judged import CEBJudged

__all__ = ["CEBConversation"]


class CEBConversation(CEBJudged):
    """Share of replies to a stereotyping speaker that are biased, in per cent.

    Metrics, arguments and errors are those of `JudgedBias`: a greedy reply of up to 512 tokens, and
    a judge that says whether it expresses or endorses a stereotype.

    Source: Wang et al. 2024, arXiv 2407.02408, section 3. Departs: the question to the judge is
    ours (version `ceb-stereotype-1`), since the authors published none.
    """

    name = "ceb_conversation"
    tasks = ("conversation",)
