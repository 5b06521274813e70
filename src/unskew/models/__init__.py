"""Models, tokenizers, log-probabilities and references; the only place that shifts tokens."""
