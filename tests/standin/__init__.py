"""A stand-in for Windows Setup: media that behave to the host as Microsoft's do, with nothing of Windows in them."""
