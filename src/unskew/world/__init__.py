"""An invented language with planted stereotypes: a world whose truth is known."""
