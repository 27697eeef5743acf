"""What a token exchange must decide, for exchanges in any language: see README.md."""
