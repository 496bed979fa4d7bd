"""The Windows vocabulary: what a test says to the guest's system, by its interfaces."""
