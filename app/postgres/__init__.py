"""The adapters to PostgreSQL: sessions, programs, and what a backup or restore does with them."""
