"""Which models there are: the catalogue, what is known about each, and the virtual ones that clients made."""
