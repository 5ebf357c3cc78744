"""Sums and percentiles of doubles: the same whatever order the numbers come in.

Raw and sealed events, and the two engines, give them in different orders; to add doubles up
one by one rounds at each step, and could overflow on the way to a sum that fits.
"""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np

from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import starts

LARGEST = sys.float_info.max
MANTISSA_BITS = 53
HALF_BITS = 27
BIN = 8  # exponents that share a bin: 27 bits and 7 more leave room for 2**29 numbers in 64
UNIT = 1136  # sums are kept in units of 2**-1136, below the last bit of any double


def sum_and_average(numbers: Array) -> tuple[float, float]:
    """Returns both, each rounded once; a sum beyond the largest double is the largest."""
    total = Fraction(exact_sum(numbers), 1 << UNIT)
    return as_double(total), as_double(total / len(numbers))


def exact_sum(numbers: Array) -> int:
    """Returns the sum in units: mantissas are added as whole numbers, bin by bin."""
    mantissas, exponents = np.frexp(numbers)
    whole = (mantissas * 2.0**MANTISSA_BITS).astype(np.int64)
    bins, shifts = np.divmod(exponents.astype(np.int16), BIN)
    order = np.argsort(bins, kind="stable")
    bins, shifts, whole = bins[order], shifts[order], whole[order]
    firsts = starts(bins)
    high = np.add.reduceat((whole >> HALF_BITS) << shifts, firsts)
    low = np.add.reduceat((whole & ((1 << HALF_BITS) - 1)) << shifts, firsts)
    places = bins[firsts].astype(np.int64) * BIN - MANTISSA_BITS + UNIT
    columns = zip(high.tolist(), low.tolist(), places.tolist(), strict=True)
    return sum(((upper << HALF_BITS) + lower) << place for upper, lower, place in columns)


def as_double(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return LARGEST if number > 0 else -LARGEST


def percentile(ordered: Array, percent: int) -> float:
    """Returns the number below which so much lies, between two of them in proportion."""
    place, rest = divmod(percent * (len(ordered) - 1), 100)
    low, high = (Fraction(float(each)) for each in (ordered[place], ordered[place + bool(rest)]))
    return as_double(low + (high - low) * Fraction(rest, 100))
