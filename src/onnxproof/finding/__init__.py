"""What is found out where no job says it: a checkpoint's job, and how a file from elsewhere is arranged."""
