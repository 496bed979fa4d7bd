"""The contract of the two routines: clauses, expectations, verdicts. Pure, no input or output."""
