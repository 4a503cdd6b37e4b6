"""Signals become a question asked between two steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from limbeck_server.runner.interrupt import sigterm_as_ctrl_c, stop_signals


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell that starts tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_flag_and_tells_the_user(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with stop_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert "once more stops at once" in capfd.readouterr().err


def test_the_second_ctrl_c_stops_at_once() -> None:
    with stop_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_signals():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_interrupts_work_that_has_no_steps() -> None:
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
