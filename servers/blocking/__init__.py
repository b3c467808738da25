"""One thread for each connection, which blocks in its calls."""
