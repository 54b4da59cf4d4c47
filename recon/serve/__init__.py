"""Localisation over HTTP: one map in memory, photos in, poses out. Needs the extra ``recon[serve]``."""
