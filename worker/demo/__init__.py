"""`tenure demo`: the whole story, on a real stack, over HTTP, read back with a plain Redis client."""
