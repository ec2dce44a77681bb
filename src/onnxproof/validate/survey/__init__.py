"""Many pictures: the same comparison as on a case, summed up in memory that does not grow with them."""
