"""What the text of a dump says: what it holds, needs, and must not do."""
