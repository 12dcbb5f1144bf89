"""Learning to act: environments, rollouts, PPO, and agents whose memory learns (RL2)."""

from .bandits import bernoulli_bandit, gaussian_bandit
from .clustering import Searched, clustering_search, tabulated
from .environment import Environment, Space, Transition, Trial, trials
from .live import LiveSet, live, live_set
from .policy import Agent, rl2
from .ppo import ppo
from .rollout import History, play, rollout
from .searcher import LearnedSearch, Searcher
from .tabular import tabular_mdp

__all__ = [
    "Agent",
    "Environment",
    "History",
    "LearnedSearch",
    "LiveSet",
    "Searched",
    "Searcher",
    "Space",
    "Transition",
    "Trial",
    "bernoulli_bandit",
    "clustering_search",
    "gaussian_bandit",
    "live",
    "live_set",
    "play",
    "ppo",
    "rl2",
    "rollout",
    "tabular_mdp",
    "tabulated",
    "trials",
]
