"""`python -m examples.exchange`: run it, with the settings of the environment."""

from __future__ import annotations

import logging
import os
import sys

import uvicorn

from examples.exchange.app import create_app
from examples.exchange.settings import ExchangeSettings, ExchangeSettingsError

GRACE_SECONDS = 5
"""How long requests that are under way keep it from ending."""


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = ExchangeSettings.load(os.environ)
    except ExchangeSettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
