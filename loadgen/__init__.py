"""The load generator: many connections to one echo server, every echo verified, every delay recorded."""
