"""Measuring: processes up, load in slices, records out."""
