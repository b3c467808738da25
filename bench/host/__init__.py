"""The machine: what it is, which CPUs to use, what would spoil a measurement."""
