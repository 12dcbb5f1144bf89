"""Learning to act: environments, rollouts, PPO, and agents whose memory learns (RL2)."""

from .bandits import bernoulli_bandit, gaussian_bandit
from .clustering import Searched, clustering_search
from .environment import Environment, Space, Transition, Trial, trials
from .policy import Agent, rl2
from .ppo import ppo
from .rollout import History, play, rollout
from .tabular import tabular_mdp

__all__ = [
    "Agent",
    "Environment",
    "History",
    "Searched",
    "Space",
    "Transition",
    "Trial",
    "bernoulli_bandit",
    "clustering_search",
    "gaussian_bandit",
    "play",
    "ppo",
    "rl2",
    "rollout",
    "tabular_mdp",
    "trials",
]
