"""The checks of check_dataset.py, and its report."""
