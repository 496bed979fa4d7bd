"""Making guests, and the store that keeps them."""
