"""Clustering: seeding, one module per algorithm, and the public function `cluster`."""
