"""Estimators of the meta-gradient, and the meta-step of persistent evolution strategies."""
