"""`python -m dragoman.cli`, where the script is not on the PATH."""

from dragoman.cli import main

raise SystemExit(main())
