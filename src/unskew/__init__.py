"""unskew: take learned bias out of a causal language model, keep what it can do, prove both."""

__version__ = "0.1.0"
