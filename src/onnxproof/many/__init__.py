"""Many pictures: list them, cut them into chunks, and work on the chunks in processes that may die."""
