"""The broker, as far as this program asks it something itself; all else is Celery's."""
