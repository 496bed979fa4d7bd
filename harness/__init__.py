"""halpmc: hardware performance counters in Windows VMs, tested with and without a virtual PMU."""

__version__ = "0.1.0"
