"""Meta-learners: functions that build a `Learner` from a model, a loss or a clusterer."""
