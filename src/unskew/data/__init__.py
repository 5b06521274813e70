"""Data sets in, records of one type out, split so that nothing leaks."""
