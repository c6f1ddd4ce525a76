"""What tools/explorer.py shows of an image and of a pixel, and its page."""
