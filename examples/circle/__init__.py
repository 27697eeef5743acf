"""The whole circle on one machine, from a workflow's token to a published package.

Real are Tenure, its store, the exchange, the package index (pypiserver) and the upload client (twine). Played are GitHub's
webhooks and its issuer of tokens.

- `issuer`: signs tokens and publishes its keys over HTTP, as GitHub's does.
- `index`: pypiserver, which asks the exchange about every key.
- `stage`: starts all of it, and ends it.
- `story`: what happens, and what must come of it.
"""
