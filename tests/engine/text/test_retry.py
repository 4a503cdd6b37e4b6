from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from limbeck.text.retry import seconds_of


@pytest.mark.parametrize(("header", "seconds"), [("0", 0), ("7", 7), (" 120 ", 120)])
def test_retry_after_may_be_a_number_of_seconds(header, seconds):
    assert seconds_of(header) == seconds


def test_retry_after_may_be_a_date():
    then = datetime.now(UTC) + timedelta(seconds=100)
    assert seconds_of(format_datetime(then, usegmt=True)) == pytest.approx(100, abs=20)


def test_a_date_in_the_past_is_no_pause():
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1e3", "²", "Wed, 99 Oct 2015"])
def test_a_retry_after_that_cannot_be_read_says_nothing(header):
    assert seconds_of(header) is None
