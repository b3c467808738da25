"""Completion: I/O is started at once, and the system says later which of it is done."""
