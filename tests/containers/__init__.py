"""The compose topology, really run: `make containers`."""
