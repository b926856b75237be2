"""What the service does, one verb a file. Operations take ports and values, and return values or raise typed errors."""
