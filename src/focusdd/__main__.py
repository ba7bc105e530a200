"""`python -m focusdd`."""

from focusdd.cli import main

if __name__ == "__main__":
    main()
