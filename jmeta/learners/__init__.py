"""Meta-learners: each is a `Learner`, made of a model, a loss or a clusterer that it is handed."""
