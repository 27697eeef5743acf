"""Workers of other queues, each with one job that does nothing but be counted."""
