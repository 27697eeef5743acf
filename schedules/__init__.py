"""What runs when. The scheduler only sends wake-ups; the work is done by workers."""
