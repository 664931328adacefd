"""The population model: shared basis, population head, item deviations and the prior over users."""

from paaplus.population.fit import ItemFeatures, Ratings, fit_population
from paaplus.population.model import Population, load_population
from paaplus.population.prior import Prior
from paaplus.population.teach import Taught
from paaplus.population.weights import DailyCaps

__all__ = [
    "DailyCaps",
    "ItemFeatures",
    "Population",
    "Prior",
    "Ratings",
    "Taught",
    "fit_population",
    "load_population",
]
