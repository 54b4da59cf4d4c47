"""Two photos and nothing kept on disk: features, matches, the model that explains them, a picture."""
