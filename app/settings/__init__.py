"""The settings of the service, from the environment."""
