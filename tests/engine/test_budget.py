"""Amounts of memory as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.budget import UNITS, format_nbytes, parse_nbytes
from limbeck.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("4GiB", 4 * 2**30),
        ("768MiB", 768 * 2**20),
        ("0.75GiB", 768 * 2**20),
        ("2GB", 2 * 10**9),
        ("2", 2 * 2**30),
        (" .5 gib ", 2**29),
        ("1024B", 1024),
    ],
)
def test_an_amount_is_a_number_and_a_unit_and_without_a_unit_gib(text, nbytes):
    assert parse_nbytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "4 gigs", "1e3MiB", "4GiB2", "nan"])
def test_what_is_no_amount_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match="no amount of memory; write 4GiB"):
        parse_nbytes(text)


def test_nothing_at_all_is_refused():
    with pytest.raises(ConfigError, match="0 bytes"):
        parse_nbytes("0GiB")


def test_bytes_written_without_their_unit_are_refused_with_a_hint():
    with pytest.raises(ConfigError, match="write 4294967296B"):
        parse_nbytes("4294967296")


@given(st.integers(1, 10**12), st.sampled_from(sorted(UNITS.keys() - {""})))
def test_whole_numbers_of_a_unit_are_exact(count, unit):
    if count * UNITS[unit] <= 2**50:
        assert parse_nbytes(f"{count}{unit}") == count * UNITS[unit]


@given(st.integers(1, 2**50))
def test_what_is_shown_reads_back_within_its_digits(nbytes):
    assert parse_nbytes(format_nbytes(nbytes)) == pytest.approx(nbytes, rel=0.006)
