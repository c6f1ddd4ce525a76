"""Modules that two or more commands use.

Importing this package puts the repository on the import path, so that
``projects.sprnet`` can be imported from any working directory. It also sets
OpenMP's threads. So commands import it before anything that imports torch.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from .threads import set_threads

ROOT = Path(__file__).resolve().parents[2]
# First, because another package named `projects` may be installed
sys.path.insert(0, str(ROOT))
set_threads()
if not find_spec('torch'):
    sys.exit(
        f'{Path(sys.argv[0]).name}: {sys.executable} has no torch; run "make '
        'setup" once, and "source .venv/bin/activate" in each shell'
    )
