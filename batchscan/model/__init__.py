"""A model bundle: its card, its network, and what it was measured to be worth."""
