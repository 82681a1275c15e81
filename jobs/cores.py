"""How many cores this machine has for a Ray of our own."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Count the cores that this process may use, at least one.

    Ray by itself heeds a container's quota, but not which cores a process may run on (`taskset`,
    Slurm, systemd's `CPUAffinity=`); and a quota of half a core it takes for none at all.
    """
    return max(1, min(_counted_by_ray(), len(os.sched_getaffinity(0))))


def _counted_by_ray() -> int:
    """Count cores as `ray.init` does; those of the machine, where another version hides how."""
    try:
        from ray._private.utils import get_num_cpus

        return int(get_num_cpus(override_docker_cpu_warning=True))
    except (ImportError, TypeError):
        return os.cpu_count() or 1
