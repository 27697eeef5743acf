"""Translation: an event in, observations out. No I/O and no clock; `handlers.table` shows everything that is heard."""
