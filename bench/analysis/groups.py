"""Numbers for groups of rows, so that what many comparisons group and join by is worked out once.

A load alone has a dozen columns. Grouping or joining a table of slices by all of them, for each quantity and
each reference anew, takes longer than all that is computed from the groups.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
"""Of each row the number of its group: from 0, in the order in which groups first appear."""


def numbers_of(table: pd.DataFrame, columns: Sequence[str]) -> Numbers:
    """The groups of rows that agree in all `columns`; missing values are alike."""
    numbers: Numbers = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        numbers = joined(numbers, table[name])
    return numbers


def joined(numbers: Numbers, column: pd.Series) -> Numbers:
    """The groups of rows that agree in `numbers` and in `column` as well."""
    given = column.to_numpy()
    # As most columns of a load: no need to look further. Most others differ at their end already.
    if given.size and given[0] == given[-1] and (given == given[0]).all():
        return numbers
    codes, values = pd.factorize(column, use_na_sentinel=False)
    if len(values) <= 1:
        return numbers
    both, _ = pd.factorize(numbers * len(values) + codes)
    return np.asarray(both, dtype=np.int64)


def count(numbers: Numbers) -> int:
    """How many groups there are."""
    return int(numbers.max()) + 1 if numbers.size else 0


def first_rows(numbers: Numbers) -> Numbers:
    """The place of each group's first row."""
    first: Numbers = np.zeros(count(numbers), dtype=np.int64)
    first[numbers[::-1]] = np.arange(numbers.size - 1, -1, -1)  # of several the last assignment stays
    return first


def rows_by_group(numbers: Numbers) -> list[Numbers]:
    """The places of each group's rows."""
    if not numbers.size:
        return []
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])
