"""Zip and tar files whose members are images of the archive, read without unpacking."""
