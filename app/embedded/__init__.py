"""A PostgreSQL and a broker from Python packages, for `make run`, the demo and the tests. Nothing else is installed."""
