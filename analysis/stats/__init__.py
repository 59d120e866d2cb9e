"""Intervals, tests and estimators: pure numpy and scipy, no input or output."""
