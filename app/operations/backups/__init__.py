"""What stands in the tree, and what keeps it in order."""
