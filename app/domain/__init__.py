"""Values and rules: the standard library alone, no I/O, no clock."""
