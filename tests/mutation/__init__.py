"""Whether the tests notice: one small change to the source at a time, and the tests on each."""
