"""The boards: descriptors under the published protocols. Each board predicts to files, then scores the files."""
