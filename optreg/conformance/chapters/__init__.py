"""The chapters of the catalogue: plain functions `check_...`, each with one sentence of claim."""
