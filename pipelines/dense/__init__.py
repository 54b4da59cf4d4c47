"""From a map to depth maps, a coloured cloud and a mesh: the product behind ``recon dense``."""
