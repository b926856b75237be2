"""The backups in the tree: what there are, and what keeps them in order."""
