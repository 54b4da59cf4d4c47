"""Small rendered picture sets with exact ground truth, and the program that renders them (``render.py``)."""
