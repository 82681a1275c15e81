"""Pictures of single images, and the list of all by score."""
