"""Reinforcement learning: environments, rollouts, PPO, and agents with a recurrent state (RL2)."""

from .bandits import bernoulli_bandit, gaussian_bandit
from .environment import Environment, Space, Transition, Trial, trials
from .point_mass import point_mass
from .policy import Agent, rl2
from .ppo import evaluated, ppo
from .rollout import History, play, rollout
from .tabular import tabular_mdp

__all__ = [
    "Agent",
    "Environment",
    "History",
    "Space",
    "Transition",
    "Trial",
    "bernoulli_bandit",
    "evaluated",
    "gaussian_bandit",
    "play",
    "point_mass",
    "ppo",
    "rl2",
    "rollout",
    "tabular_mdp",
    "trials",
]
