"""Workflow files for CI services: one pipeline, told in the language of each."""
