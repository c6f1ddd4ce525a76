"""Run commands of this repository one after another."""

import os
import subprocess
import sys


def run(*command: object) -> None:
    """Print and run a command; end this process if it fails."""
    name = os.path.basename(sys.argv[0])
    words = [os.path.relpath(sys.executable), *map(str, command)]
    print('\n$', *words, flush=True)
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode:
        sys.exit(f'{name}: stopped because {command[0]} failed')
