"""No worker outlives the comparison that started it, even if that is killed before the first run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import time
from counterpoise.experiment.parallel import map_jobs
list(map_jobs(time.sleep, [600.0, 600.0], jobs=2))
"""


def members(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    processes = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            processes.append(int(stat.parent.name))
    return processes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("moment", [0.0, 2.0])
def test_workers_end_with_their_parent(moment: float) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(members(parent.pid)) < 3 and time.monotonic() < deadline:  # the parent and two workers
            time.sleep(0.05)
        time.sleep(moment)
        assert len(members(parent.pid)) >= 3
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while members(parent.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert members(parent.pid) == []
    finally:
        for pid in members(parent.pid):
            os.kill(pid, signal.SIGKILL)
