"""The file of a full backup."""
