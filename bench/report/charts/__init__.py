"""A chart a file; each takes tables of `bench.analysis.findings` and returns a matplotlib Figure."""
