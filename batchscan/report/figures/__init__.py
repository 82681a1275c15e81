"""Figures of labelled images, with their intervals."""
