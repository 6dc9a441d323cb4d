"""Signals as a wish to stop."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from reconciler.cli.signals import STOPPING, StopSignals


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_wakes_the_waiting_loop(number: signal.Signals) -> None:
    event = threading.Event()
    with StopSignals(event.set) as signals:
        assert not signals.asked()
        os.kill(os.getpid(), number)
        assert event.wait(20)
        assert signals.received == number


def test_a_second_one_interrupts_at_once() -> None:
    event = threading.Event()
    with StopSignals(event.set) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert event.wait(20)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signals.received == signal.SIGTERM


def test_other_signals_are_not_its_business() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopSignals(lambda: None) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert not signals.asked()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_everything_is_put_back() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with StopSignals(lambda: None):
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals(lambda: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_hanging_up_on_a_loop_without_a_terminal_reloads_it_however_often() -> None:
    reloaded = threading.Semaphore(0)
    stopped = threading.Event()
    with StopSignals(stopped.set, reloaded.release) as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            assert reloaded.acquire(timeout=20)
        assert not signals.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(20)
    assert signals.received == signal.SIGTERM
