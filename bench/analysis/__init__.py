"""From records to figures with intervals: frames, ratios within the round, and what can be told."""
