"""Where photos show the same piece of surface, by grey values, to a few hundredths of a pixel."""
