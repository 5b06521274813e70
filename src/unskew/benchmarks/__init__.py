"""Questions and their scoring. One file and one line here make a new benchmark."""

from unskew.registry import Table

BENCHMARKS = Table("benchmarks", {"stereoset": "unskew.benchmarks.stereoset:StereoSet"})
