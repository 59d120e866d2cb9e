"""Engines beyond the embedded one. Each needs its extra: `pip install release-review[postgres]`."""
