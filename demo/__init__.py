"""The residency scheduler's database with made-up people, and what shows the service at work on it."""
