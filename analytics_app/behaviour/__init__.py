"""funnel | retention | paths | properties | breakdown -> source -> seals | raw -> packing.

What people do: reports over columns of events, read from sealed days where they stand.
"""
