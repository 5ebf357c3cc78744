"""HTTP: parse, call, shape, return."""
