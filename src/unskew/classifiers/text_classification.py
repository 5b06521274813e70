"""A text classification model of the Hugging Face hub or a folder as a rater of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unskew.errors import ConfigError
from unskew.models.load import load_classifier
from unskew.registry import nearest

BATCH = 32


class TextClassification:
    """Probability of one label of a sequence classification model, in float32.

    Sigmoid of the label's logit where the model's configuration says that several labels may hold
    (`multi_label_classification`) or has one label, else softmax over labels. A text longer than
    the model reads is cut at its end.

    Args:
        model: Hub id, or a folder with config.json, safetensors weights and a tokenizer.
        label: Name of the label whose probability is the rating, as the configuration spells it.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ModelError: The model cannot be loaded.
        ConfigError: It has no such label.
    """

    def __init__(self, model: str, label: str, revision: str | None = None) -> None:
        self._model, self._tokenizer = load_classifier(model, revision)
        labels = {str(name): place for place, name in self._model.config.id2label.items()}
        if label not in labels:
            raise ConfigError(
                f"the classifier {model!r} has no label {label!r}{nearest(label, labels)} "
                f"(it has: {', '.join(labels)})"
            )
        self._place = int(labels[label])
        kind = self._model.config.problem_type
        self._is_sigmoid = kind == "multi_label_classification" or len(labels) == 1
        self._name = f"{model}@{revision}" if revision else model
        self._label = label

    @property
    def identity(self) -> str:
        """Model and label."""
        return f"{self._name}, label {self._label}"

    @torch.no_grad()
    def rate(self, texts: Sequence[str]) -> list[float]:
        """See `Classifier`. Equal texts are read once, those alike in length together."""
        distinct = sorted(set(texts), key=lambda text: (-len(text), text))
        found: dict[str, float] = {}
        device = next(self._model.parameters()).device
        for begin in range(0, len(distinct), BATCH):
            block = distinct[begin : begin + BATCH]
            asked = self._tokenizer(block, padding=True, truncation=True, return_tensors="pt")
            logits = self._model(**asked.to(device)).logits.float()
            shares = logits.sigmoid() if self._is_sigmoid else logits.softmax(-1)
            found.update(zip(block, shares[:, self._place].tolist(), strict=True))
        return [found[text] for text in texts]
