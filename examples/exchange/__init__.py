"""A token exchange: it turns a GitHub Actions token into a key that publishes for an hour at most.

- `settings`: what it has to be told.
- `issuer`: the keys that the issuer of tokens publishes.
- `tokens`: whether a token is what it says.
- `vault`: used tokens, minted keys, revocations and logins to report, in a Redis of its own.
- `revoking`: keys die when their policy is disabled.
- `reporting`: every login reaches Tenure, late rather than never.
- `app`: the service.

Of Tenure it uses the reader and nothing else.
"""
