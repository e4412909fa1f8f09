"""Side by side with peers: each file is a command that prints a table."""
