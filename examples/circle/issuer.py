"""Plays GitHub's issuer of tokens: signs them, and publishes its keys over HTTP."""

from __future__ import annotations

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "https://index.example"
LIFE_SECONDS = 300


class Issuer:
    """Use as a context manager, or `start` and `stop`. Serves on 127.0.0.1."""

    def __init__(self) -> None:
        self._published: dict[str, rsa.RSAPrivateKey] = {}
        self.kid = ""
        """The key that signs now."""
        self.asked = 0
        """How often its keys were fetched."""
        self.broken = False
        """Whether it answers 500 instead of keys."""
        self.garbled: bytes | None = None
        """What it answers instead of keys."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.rotate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/.well-known/jwks"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def rotate(self, *, withdraw: bool = False) -> str:
        """Sign with a new key from now on; `withdraw`: and publish the former ones no longer."""
        if withdraw:
            self._published.clear()
        self.kid = f"key-{secrets.token_hex(4)}"
        self._published[self.kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self.kid

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return self._published[self.kid]

    def claims(self, **changed: object) -> dict[str, object]:
        """The claims of a token that is made now; None leaves one out."""
        now = int(time.time())
        made: dict[str, object] = {
            "iss": self.url,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + LIFE_SECONDS,
            "jti": secrets.token_hex(16),
            **changed,
        }
        return {name: value for name, value in made.items() if value is not None}

    def token(self, **changed: object) -> str:
        payload = json.dumps(self.claims(**changed)).encode()
        return jwt.PyJWS().encode(payload, self.key, "RS256", {"kid": self.kid})

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                status = 500 if issuer.broken else 200
                body = json.dumps({"keys": issuer.document()}).encode() if issuer.garbled is None else issuer.garbled
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler

    def document(self) -> list[dict[str, object]]:
        """The public keys, as they are published."""
        return [
            {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "RS256", "use": "sig"}
            for kid, key in self._published.items()
        ]
