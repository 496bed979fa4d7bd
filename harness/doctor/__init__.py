"""Whether this host can be trusted with test VMs: each check with its answer and what to do about it."""
