"""What to run: experiment files, typed specifications, run identity and the plan. Imports no numerical library."""
