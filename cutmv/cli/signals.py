"""Note the signals that tell a command to end, so that it ends what it has started."""

import signal

#: The signals by which a terminal, its closing, and a service manager tell a program to end.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


def note_signals() -> list[signal.Signals]:
    """A list to which each signal that tells us to end is added, from now on."""
    received: list[signal.Signals] = []
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda number, _frame: received.append(signal.Signals(number)))
    return received
