"""A method and a measure that unskew does not know."""
