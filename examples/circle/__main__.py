"""`python -m examples.circle`: plays the whole circle, and compares what happens with what should."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from examples.circle.stage import StageError, circle
from examples.circle.story import Story


def main() -> int:
    print("Starting Tenure, the exchange, a package index and an issuer of tokens …", flush=True)
    with tempfile.TemporaryDirectory(prefix="tenure-circle-") as folder:
        try:
            with circle(Path(folder)) as running:
                story = Story(running, lambda line: print(line, flush=True))
                story.play()
        except StageError as error:
            print(error, file=sys.stderr)
            return 1
    print(
        "\nEverything went as in the story." if not story.problems else f"\n{len(story.problems)} not as in the story."
    )
    return 1 if story.problems else 0


if __name__ == "__main__":
    sys.exit(main())
