"""How many threads a command uses, and how they wait.

PyTorch's OpenMP threads spin while they wait for each other. Beside another
busy process, or with fewer CPUs than threads, each spins while the one that it
waits for is not running. PyTorch's library counts the CPUs of the machine or
of the process's affinity, but not those that a container may use.
"""

import os
from pathlib import Path


def cpu_quota(
    cgroups: Path = Path('/proc/self/cgroup'),
    root: Path = Path('/sys/fs/cgroup'),
) -> float:
    """CPUs that the process's cgroups, version 1 or 2, allow it.

    Returns:
        Infinity without a limit.
    """
    try:
        lines = cgroups.read_text().splitlines()
    except OSError:
        return float('inf')
    allowed = float('inf')
    for line in lines:  # number:controllers:/path
        number, controllers, path = line.split(':', 2)
        if number == '0':
            top, files = root, ['cpu.max']
        elif 'cpu' in controllers.split(','):
            top, files = (
                root / 'cpu',
                ['cpu.cfs_quota_us', 'cpu.cfs_period_us'],
            )
        else:
            continue
        group = top / path.lstrip('/')
        # A container may see its own group as the top.
        for folder in {group, *group.parents, top}:
            try:
                text = ' '.join((folder / name).read_text() for name in files)
            except OSError:
                continue
            quota, period = text.split()
            if quota not in ('max', '-1'):
                allowed = min(allowed, int(quota) / int(period))
    return allowed


def available_cpus() -> int:
    """CPUs that this process may use at the same time, at least one."""
    if hasattr(os, 'sched_getaffinity'):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, int(min(count, cpu_quota())))


def set_threads() -> None:
    """Set OpenMP's defaults, unless the environment does.

    OpenMP reads them when torch is imported, so this must run before it.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if cpu_quota() < float('inf'):
        os.environ.setdefault('OMP_NUM_THREADS', str(available_cpus()))
