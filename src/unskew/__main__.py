"""`python -m unskew`, e.g. under torchrun."""

from unskew.cli import main

if __name__ == "__main__":
    main()
