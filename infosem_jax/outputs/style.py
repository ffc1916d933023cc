"""Colours and sizes of figures.

Colours are those of Okabe and Ito, which people with colour blindness can tell apart.
"""

INK = "#20262e"


GREY = "#808890"


ACTIVATES = "#0072b2"


REPRESSES = "#d55e00"


SECOND = "#009e73"


WIDTH = 5.2  # inches, so that a page as narrow as a phone leaves text readable
