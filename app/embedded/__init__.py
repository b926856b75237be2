"""The demo's and the tests' own PostgreSQL and broker: nothing has to be installed on the machine."""
