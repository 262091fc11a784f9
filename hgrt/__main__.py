"""`python -m hgrt` is `hgrt`."""

from hgrt.cli.main import main

if __name__ == "__main__":
    main()
