"""The PMU probe: what PMU is really there."""
