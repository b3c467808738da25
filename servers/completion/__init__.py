"""Completion: the server starts the I/O; the system says when it is done."""
