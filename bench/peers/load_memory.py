"""Memory of the server's process while it is loaded, from /proc."""

import asyncio
import time
from pathlib import Path

MIB = 1024


def status(pid: int, name: str) -> float | None:
    """A line of /proc/PID/status in MiB; none if the process is gone or no process was named."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / MIB for line in lines if line.startswith(f"{name}:")), None)


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / 100


async def watch(pid: int, start: float, minutes: list[float], found: dict[str, float]) -> None:
    """Notes the memory in MiB at each of `minutes` after `start`, as `found["5"]`."""
    for minute in sorted(minutes):
        await asyncio.sleep(max(0.0, start + 60 * minute - time.monotonic()))
        memory = status(pid, "VmRSS")
        if memory is not None:
            found[f"{minute:g}"] = round(memory, 1)
