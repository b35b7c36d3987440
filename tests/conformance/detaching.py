"""How a plugin leaves a process behind. Nothing here imports torch, which would take seconds."""

import os
import time


def detach():
    """Leave a process behind, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.wait()
