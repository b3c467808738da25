"""What to measure: suites, contenders, and the blocks that they make."""
