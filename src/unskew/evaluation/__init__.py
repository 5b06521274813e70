"""Asks a model what benchmarks want to know: deduplicated, bucketed, batched."""
