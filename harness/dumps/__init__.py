"""Memory dumps of guests, read on the host: what crashed, how, and whether a module of ours had a part in it."""
