"""`python -m worker`: the same as `tenure`. The supervisor starts its children this way."""

from worker.cli import main

if __name__ == "__main__":
    main()
