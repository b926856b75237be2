"""Whether all is well, and what is not."""
