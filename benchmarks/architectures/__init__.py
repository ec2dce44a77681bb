"""Small seeded networks of many libraries, for the benchmarks: one file a library."""
