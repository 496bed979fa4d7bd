"""The test driver and its client: build, deploy, session."""
