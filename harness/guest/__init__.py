"""Ways into a guest, and what is said there."""
