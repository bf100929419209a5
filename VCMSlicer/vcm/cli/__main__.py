"""`python -m vcm.cli`: the command line for launchers that start modules (`accelerate launch -m`, `torchrun -m`)."""

from vcm.cli import main

main()
