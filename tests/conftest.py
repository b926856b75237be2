"""Fixtures live in one module for each thing; test modules import the same modules by the same names."""

pytest_plugins = ["tests.fix_postgres", "tests.fix_broker", "tests.fix_celery", "tests.fix_service"]
