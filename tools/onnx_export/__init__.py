"""What tools/export.py writes, and how it is compared with PyTorch."""
