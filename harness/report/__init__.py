"""Views over records."""
