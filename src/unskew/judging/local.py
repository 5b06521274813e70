"""A judge that is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unskew.chat import ChatRequest, JudgePrompt, JudgeReply
from unskew.errors import DataError
from unskew.evaluation.chatting import converse
from unskew.judge_settings import JudgeModel
from unskew.models.load import LoadedModel, load_model

BATCH = 16
"""Questions between two replies that are handed over, and so the most work that is lost."""


class LocalJudge:
    """A causal language model of the Hugging Face hub or a folder; loaded when first asked.

    It answers greedily, or by seeded sampling where its temperature is above 0.

    Args:
        judge: The model; its endpoint and prices are not looked at.
        load: Gives the model by its name.
    """

    prices: tuple[float, float] | None = (0.0, 0.0)

    def __init__(self, judge: JudgeModel, load: Callable[[str], LoadedModel] = load_model) -> None:
        self._judge, self._load = judge, load
        self._loaded: Any = None

    @property
    def identity(self) -> str:
        """Model and temperature."""
        return f"{self._judge.model}, local, temperature {self._judge.temperature}"

    @torch.no_grad()
    def ask(
        self,
        prompts: Sequence[JudgePrompt],
        max_tokens: int,
        replied: Callable[[int, JudgeReply | None], None],
    ) -> None:
        """See `unskew.protocols.Judge`.

        Raises:
            ModelError: The model cannot be loaded or used.
            DataError: A question fills its context.
        """
        if self._loaded is None:
            self._loaded = self._load(self._judge.model)
        model, encoder = self._loaded.model, self._loaded.encoder
        for begin in range(0, len(prompts), BATCH):
            # A template without a system role is common; the words come first in any case.
            asked = [
                ChatRequest(
                    str(begin + i),
                    ("\n\n".join(text for _, text in prompt.messages),),
                    max_tokens,
                    self._judge.temperature or 0.0,
                )
                for i, prompt in enumerate(prompts[begin : begin + BATCH])
            ]
            try:
                said = converse(model, encoder, asked, 0)
            except DataError as error:
                raise DataError(f"the judge {self._judge.model}: {error}") from error
            for place, found in said.items():
                replied(int(place), JudgeReply(found.replies[0]))
