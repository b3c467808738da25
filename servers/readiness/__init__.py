"""Readiness: the system says which sockets can be read or written; the server then does the I/O."""
