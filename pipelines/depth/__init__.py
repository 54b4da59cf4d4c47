"""Depth from matching costs: cost volumes, semi-global matching, filters. Shared by the products stereo and dense."""
