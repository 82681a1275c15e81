"""The archive: which files are images, in which order, and what is in them."""
