"""The machine that the VMs run on."""
