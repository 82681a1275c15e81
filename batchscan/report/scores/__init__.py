"""What scores tell without labels."""
