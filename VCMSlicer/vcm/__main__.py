"""`python -m vcm`: the command line, for programs that start Python modules, such as torchrun."""

from vcm.cli import main

if __name__ == "__main__":
    main()
