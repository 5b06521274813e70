"""Artefacts: what a run leaves, and how it is carried to another checkpoint."""
