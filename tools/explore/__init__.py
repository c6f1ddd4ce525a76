"""The page of tools/explorer.py, and the predictions that it shows."""
