"""Footfall's analytics service against its peers: python -m benchmarks."""
