"""The HTTP server: API and console as one ASGI application, with limits on what a connection may cost."""
