"""Where backups are kept: the tree of folders on this machine."""
