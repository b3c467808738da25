"""Echo servers, one for each way of doing socket I/O: `python -m servers MODEL`."""
