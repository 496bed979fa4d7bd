"""A small model of an NT kernel, a HAL and a PMU around an emulated CPU: the built test driver runs on the host.

It proves the binary, not the system: the driver's machine code is real, everything that it calls is a model. Nothing
that happens here says how Windows or Wine behaves.
"""
