import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.table import RowTable


def row(value, size=2):
    return {"x": np.full(size, value, np.float32)}


def test_a_row_comes_back():
    table = RowTable(8)
    table.put("a", row(1))
    np.testing.assert_array_equal(table.get("a")["x"], [1, 1])


def test_a_key_that_was_never_put_has_no_row():
    assert RowTable(8).get("a") is None


def test_the_least_recently_used_goes_first():
    table = RowTable(16)
    table.put("a", row(1))
    table.put("b", row(2))
    table.get("a")
    table.put("c", row(3))
    assert [table.get(key) is not None for key in "abc"] == [True, False, True]


def test_the_newest_stays_however_large_it_is():
    table = RowTable(0)
    table.put("a", row(1))
    table.put("b", row(2, size=100))
    assert (table.get("a") is None, table.get("b") is None) == (True, False)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), unique_by=lambda pair: pair[0]), st.integers(0, 100))
def test_what_is_kept_fits_the_bytes_or_is_one_row(sizes, nbytes):
    table = RowTable(nbytes)
    for key, size in sizes:
        table.put(key, row(key, size))
    kept = [size * 4 for key, size in sizes if table.get(key) is not None]
    assert len(kept) <= 1 or sum(kept) <= nbytes
