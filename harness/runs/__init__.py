"""Executing a matrix and recording what was seen."""
