"""Trained models as files: their parameters, and the recipe of what they belong to.

A learner is made of functions, which no file should hold. Its recipe says how jmeta makes it: the name of a
public function of jmeta with its arguments, themselves recipes, names or plain values. So a file can be read
without running anything in it, and the parameters go back into the pytree that `init` makes. Functions of
one's own are named too, and passed by that name where the file is read: a file cannot have others called.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from pkgutil import walk_packages
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..errors import InputError
from ..records import Clusterer, Learner, Model
from .archive import read_archive, write_archive

KIND, FORMAT = "trained model", 1
"""Of the file; the number goes up when the meaning of recipes or of their parameters changes."""
PACKAGES = ("clustering", "learners", "losses", "networks", "iteration")
"""Packages and modules whose public functions a recipe may name: they are pure, and touch no file."""


Own = Mapping[str, Callable[..., Any]]
"""Functions of one's own by the names that recipes give them."""


class Recipe(NamedTuple):
    """How jmeta makes something.

    Attributes:
        name: of a public function of one of `PACKAGES`, or of one's own.
        arguments: in order.
        options: by name.
        called: whether the function is called; if not, the recipe makes the function itself, such as a loss.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}
    called: bool = True


class Trained(NamedTuple):
    """A trained model from a file.

    Attributes:
        recipe: how it is made.
        made: by the recipe: a `Learner`, `Clusterer` or `Model`.
        params: its (meta-)parameters.
        card: how they were trained and what was measured.
    """

    recipe: Recipe
    made: Learner | Clusterer | Model
    params: PyTree
    card: Mapping[str, Any]

    def __repr__(self) -> str:
        count = sum(map(np.size, jax.tree.leaves(self.params)))
        return f"Trained({self.recipe.name}, {count:,} numbers, card={dict(self.card)})"


def recipe(name: str, *arguments: Any, **options: Any) -> Recipe:
    """The recipe of a call.

    Args:
        name: of a public function of one of `PACKAGES`, or of one's own, which `make`, `save_trained` and
            `load_trained` then take as `own`.
        arguments: recipes, numbers, strings, and lists and dictionaries of these.
        options: the same, by name.

    Raises:
        InputError: an argument is of another type, which a file cannot hold.

    >>> net = recipe("mlp", (2, 8, 4))
    >>> learner = recipe("centroids", net, recipe("soft_kmeans", 3, diff=recipe("one_step")))
    >>> type(make(learner)).__name__
    'Learner'
    """
    found = Recipe(name, arguments, options)
    _plain(found)
    return found


def named(name: str) -> Recipe:
    """The recipe of a function itself, such as the loss of an inner loop.

    >>> make(named("cross_entropy")).__name__
    'cross_entropy'
    """
    return Recipe(name, called=False)


def make(value: Any, own: Own = MappingProxyType({})) -> Any:
    """What a recipe makes, also inside lists and dictionaries; returns other values unchanged.

    Args:
        value: a recipe.
        own: name -> function, for names that are not jmeta's.

    Raises:
        InputError: no recipe may name this function, it does not take these arguments, or a name of one's own
            is one of jmeta's.

    >>> make(recipe("mine", recipe("mlp", [1, 2])), own={"mine": lambda network: network}).stochastic is None
    True
    """
    if isinstance(value, list | tuple) and not isinstance(value, Recipe):
        return type(value)(make(part, own) for part in value)
    if isinstance(value, Mapping):
        return {key: make(part, own) for key, part in value.items()}
    if not isinstance(value, Recipe):
        return value
    function = _named(value.name, own)
    if not value.called:
        return function
    options = {key: make(part, own) for key, part in value.options.items()}
    try:
        return function(*(make(part, own) for part in value.arguments), **options)
    except TypeError as error:
        raise InputError(f"the recipe of {value.name} does not fit this jmeta: {error}.") from None


def save_trained(
    path: str | os.PathLike,
    recipe: Recipe,
    params: PyTree,
    card: Mapping[str, Any] | None = None,
    *,
    own: Own = MappingProxyType({}),
) -> None:
    """Writes parameters and the recipe that they belong to; a file is written whole or not at all.

    Args:
        path: of the file, ".npz".
        recipe: of a `Learner`, `Clusterer` or `Model`.
        params: its parameters, with the structure and shapes that its `init` makes.
        card: how they were trained and what was measured; anything that JSON holds.
        own: name -> function, for names in the recipe that are not jmeta's; the file holds the names.

    Raises:
        InputError: the parameters do not fit the recipe, or it names a function that is not found.

    >>> import tempfile
    >>> net = recipe("mlp", (2, 4, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_trained(f"{folder}/net.npz", net, make(net).init(jax.random.key(0)), {"steps": 0})
    ...     load_trained(f"{folder}/net.npz").card
    {'steps': 0}
    """
    arrays = _arrays(params)
    _filled(make(recipe, own), arrays, "params")
    write_archive(Path(path), KIND, FORMAT, {"recipe": _plain(recipe), "card": dict(card or {})}, arrays)


def load_trained(path: str | os.PathLike, *, own: Own = MappingProxyType({})) -> Trained:
    """The trained model in a file that `save_trained` wrote.

    Args:
        path: of the file, or the name of one that comes with jmeta: "omniglot" or "zero_shot".
        own: name -> function, for names in the file that are not jmeta's; no others are called.

    Raises:
        InputError: there is no such file, it is damaged, of another kind or of another version, or it names a
            function that is not found.
    """
    shipped = resources.files("jmeta") / "models" / f"{os.fspath(path)}.npz"
    file = shipped if os.fspath(path) in SHIPPED else Path(path)
    with resources.as_file(file) as local:
        header, arrays = read_archive(local, KIND, FORMAT)
    try:
        recipe, card = _read(header["recipe"]), header["card"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{file} holds no {KIND} ({error!r}).") from None
    made = make(recipe, own)
    return Trained(recipe, made, _filled(made, arrays, str(file)), card)


SHIPPED = ("omniglot", "zero_shot")
"""Names of the files that come with jmeta."""


def _named(name: str, own: Own) -> Callable[..., Any]:
    """The function of a name, jmeta's or one's own."""
    functions = _functions()
    if shadowed := sorted(set(functions) & set(own)):
        raise InputError(f"own holds {shadowed[0]!r}, a public function of jmeta; give yours another name.")
    if name not in functions and name not in own:
        raise InputError(
            f"{name!r} makes nothing that a recipe may name, as it is no public function of jmeta's "
            f"{', '.join(PACKAGES)}; pass a function of your own as own={{{name!r}: function}}."
        )
    return own[name] if name in own else functions[name]


@cache
def _functions() -> dict[str, Any]:
    """The public functions of `PACKAGES` by name."""
    public = {*import_module("jmeta").__all__}
    found: dict[str, Any] = {}
    for package in map(import_module, (f"jmeta.{name}" for name in PACKAGES)):
        public |= {*getattr(package, "__all__", ())}
        paths, prefix = getattr(package, "__path__", ()), package.__name__ + "."
        submodules = [import_module(info.name) for info in walk_packages(paths, prefix)]
        for module in (package, *submodules):
            members = inspect.getmembers(module, lambda one: callable(one) and not inspect.isclass(one))
            found |= {name: one for name, one in members if getattr(one, "__module__", "") == module.__name__}
    return {name: function for name, function in found.items() if name in public}


def _arrays(params: PyTree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _filled(made: Any, arrays: Mapping[str, np.ndarray], source: str) -> PyTree:
    """The arrays in the pytree that `init` makes."""
    if not isinstance(made, Learner | Clusterer | Model):
        raise InputError(f"the recipe makes a {type(made).__name__}; save a learner, a clusterer or a model.")
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    found = {name: np.shape(array) for name, array in arrays.items()}
    expected = {name: leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)}
    if found != expected:
        odd = sorted(name for name in found | expected if found.get(name) != expected.get(name))
        raise InputError(
            f"{source} do not fit the recipe: {odd[0]} and {len(odd) - 1} more differ; save them with theirs."
        )
    return jax.tree.unflatten(structure, [arrays[name] for name in names])


def _plain(value: Any) -> Any:
    """A recipe as JSON holds it."""
    if isinstance(value, Recipe):
        options = {key: _plain(part) for key, part in value.options.items()}
        arguments = [_plain(part) for part in value.arguments]
        return {"make": value.name, "arguments": arguments, "options": options, "called": value.called}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"entries": {key: _plain(part) for key, part in value.items()}}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"a recipe holds {value!r}; give recipes, numbers, strings, lists, or dictionaries with string keys."
    )


def _read(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"entries"}:
        return {key: _read(part) for key, part in value["entries"].items()}
    if isinstance(value, dict):
        options = {key: _read(part) for key, part in value["options"].items()}
        return Recipe(value["make"], tuple(map(_read, value["arguments"])), options, value["called"])
    return tuple(map(_read, value)) if isinstance(value, list) else value
