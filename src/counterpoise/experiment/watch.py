"""Ending processes together with the process that started them.

Only the standard library is imported, because a worker calls this before its other imports, which may take seconds.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["end_with"]

_watching: list[threading.Thread] = []


def end_with(parent: int) -> None:
    """End this process when its parent has ended for whatever reason.

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
