"""Many jobs in one run: a process for each, and none that is up to date."""
