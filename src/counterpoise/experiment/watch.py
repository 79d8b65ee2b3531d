"""Processes that end with the process that started them.

Only the standard library is imported: a worker calls this first, and what it imports later may take seconds.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["end_with"]

_watching: list[threading.Thread] = []


def end_with(parent: int) -> None:
    """End this process once its parent is gone, however it went.

    Args:
        parent: Process id of the parent.
    """
    if _watching or os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(143)

    _watching.append(threading.Thread(target=watch, daemon=True))
    _watching[0].start()
