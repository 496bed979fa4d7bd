"""The host's resources as /proc and control groups tell them: recorded trees, and this host."""

from __future__ import annotations

import os
from pathlib import Path

from harness.host.resources import HostResources, read_resources
from tests.unit.host_trees import EVERY_HOST, write_tree

GIB = 1 << 30
V2 = {
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    "proc/self/cgroup": "0::/ci.slice/job.scope\n",
}
V1 = {
    "proc/self/mountinfo": (
        "31 23 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    ),
    "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:cpuset:/\n0::/\n",
}


def test_a_host_without_control_groups(tmp_path: Path) -> None:
    assert read_resources(write_tree(tmp_path, EVERY_HOST)) == HostResources(16000, 8000, 8.0)


def test_the_tightest_limit_of_all_groups_counts_and_what_siblings_use(tmp_path: Path) -> None:
    groups = {
        "sys/fs/cgroup/ci.slice/job.scope/memory.max": "max",
        "sys/fs/cgroup/ci.slice/job.scope/cpu.max": "150000 100000",
        "sys/fs/cgroup/ci.slice/memory.max": str(4 * GIB),
        "sys/fs/cgroup/ci.slice/memory.current": str(3 * GIB),
        "sys/fs/cgroup/ci.slice/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 9\n",
        "sys/fs/cgroup/ci.slice/cpu.max": "max 100000",
    }
    found = read_resources(write_tree(tmp_path, EVERY_HOST, V2, groups))
    assert found == HostResources(4096, 2048, 1.5, "/sys/fs/cgroup/ci.slice")


def test_a_wider_limit_above_a_tight_one_can_still_be_the_full_one(tmp_path: Path) -> None:
    groups = {
        "sys/fs/cgroup/ci.slice/job.scope/memory.max": str(2 * GIB),
        "sys/fs/cgroup/ci.slice/job.scope/memory.current": "0",
        "sys/fs/cgroup/ci.slice/memory.max": str(4 * GIB),
        "sys/fs/cgroup/ci.slice/memory.current": str(4 * GIB),
    }
    found = read_resources(write_tree(tmp_path, EVERY_HOST, V2, groups))
    assert (found.memory_mib, found.available_mib) == (2048, 0)
    assert found.limited_by.endswith("job.scope")


def test_a_container_of_version_1_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    groups = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB // 2),
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB // 4}\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    found = read_resources(write_tree(tmp_path, EVERY_HOST, V1, groups))
    assert found == HostResources(1024, 768, 0.5, "/sys/fs/cgroup/memory")


def test_a_group_inside_a_container_of_version_1(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "4:memory:/docker/abc/job\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(GIB),
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "0",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
    }
    found = read_resources(write_tree(tmp_path, EVERY_HOST, V1, groups))
    assert (found.memory_mib, found.limited_by) == (1024, "/sys/fs/cgroup/memory/job")


def test_version_1_without_limits(tmp_path: Path) -> None:
    groups = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "123",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert read_resources(write_tree(tmp_path, EVERY_HOST, V1, groups)) == HostResources(16000, 8000, 8.0)


def test_this_host() -> None:
    found = read_resources()
    assert 0 < found.available_mib <= found.memory_mib
    assert 0 < found.cpus <= len(os.sched_getaffinity(0))
