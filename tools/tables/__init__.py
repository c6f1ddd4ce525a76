"""Definitions, runs, results and Markdown of paper_tables.py."""
