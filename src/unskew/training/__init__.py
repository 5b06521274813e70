"""The one training loop: a transformers.Trainer whose batch is one chunk."""
