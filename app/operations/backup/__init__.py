"""Takes a backup."""
