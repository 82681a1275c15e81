"""Charts as inline SVG: pure functions from the records of a document to markup.

Colours are CSS variables of the page, so that one drawing serves light, dark and paper. What is
told by colour is also told by a dash, a pattern or a word.
"""
