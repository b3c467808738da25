"""A chart a file; each takes tables of `bench.report.findings` and returns a matplotlib Figure."""
