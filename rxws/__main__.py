"""`python -m rxws` runs the command line."""

from rxws.cli import main

if __name__ == "__main__":
    main()
