"""Signals become a question asked between two steps."""

from __future__ import annotations

import os
import signal

import pytest

from limbeck_server.runner.interrupt import stop_signals


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
