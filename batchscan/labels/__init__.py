"""What is already known about the images of an archive."""
