"""Graphs of the points of a task: neighbours, connected components and hierarchical clustering trees."""
