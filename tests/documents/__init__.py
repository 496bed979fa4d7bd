"""What the tests of README.md and docs/ share: the commands in them, and the table that says how each is executed."""
