"""Explaining: the likely cause of a finding, and the smallest program that reproduces it."""
