"""All that is said to a PostgreSQL server."""
