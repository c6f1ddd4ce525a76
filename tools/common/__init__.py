"""Modules that two or more commands use.

Importing this package puts the repository on the import path, so that
``projects.sprnet`` can be imported from any working directory. It also sets
OpenMP's threads. So commands import it before anything that imports torch.
"""

import sys
from pathlib import Path

from .threads import set_threads

ROOT = Path(__file__).resolve().parents[2]
# First, because another package named `projects` may be installed
sys.path.insert(0, str(ROOT))
set_threads()
