"""Namespace of this repository's projects.

A regular package, so that an installed package of the same name cannot take
its place; extended over the import path, so that MMDetection's own
``projects`` folder stays importable beside it.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
