"""One QEMU machine: argv, process, QMP, lifecycle."""
