"""What the service tells of itself: metrics on their own port, log lines, spans."""
