"""`python -m limbeck_server.cli` is the `limbeck` command."""

from limbeck_server.cli import main

main()
