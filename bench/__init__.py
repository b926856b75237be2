"""Side-by-side measurements, reproducible with one command."""
