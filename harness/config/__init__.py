"""What the user asks for: guests, cells and matrices, as frozen models; loading with file:line errors."""
