"""Run commands of this repository one after another."""

import os
import subprocess
import sys


def run(*command: object) -> None:
    """Print and run a command; end this process if it fails."""
    name = os.path.basename(sys.argv[0])
    words = [os.path.relpath(sys.executable), *map(str, command)]
    print('\n$', *words, flush=True)
    try:
        done = subprocess.run([sys.executable, *words[1:]])
    except KeyboardInterrupt:  # of the command too, which has said so
        sys.exit(130)
    if done.returncode:
        sys.exit(f'{name}: stopped because {command[0]} failed')
