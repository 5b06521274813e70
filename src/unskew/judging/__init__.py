"""Asks a judge about what a model wrote: an endpoint or a local model, with stored replies."""
