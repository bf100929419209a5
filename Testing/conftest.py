"""For all tests: Ctrl-C is not ignored, however they were started."""

import signal


def pytest_configure():
    # A shell starts what it puts into the background with Ctrl-C ignored (`trap '' INT; make test`), and children
    # inherit that. The program keeps to it, as it should; tests that stop it with Ctrl-C need a child that hears it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
