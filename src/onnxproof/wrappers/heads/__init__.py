"""The heads, one file a task: what is put behind a module so that its outputs are what the task takes."""
