"""The first-party plugins of optreg: one folder each, found through the same entry points as third-party ones."""
