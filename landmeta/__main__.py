"""`python -m landmeta`, and `torchrun -m landmeta` for training on many devices."""

from landmeta.cli import main

main()
