"""The pictures of make_shapes.py."""
