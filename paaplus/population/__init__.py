"""The population model: shared basis, population head, item deviations and the prior over users."""

from paaplus.population.fit import ItemFeatures, Ratings, fit_population
from paaplus.population.model import Population, load_population
from paaplus.population.prior import Prior

__all__ = [
    "ItemFeatures",
    "Population",
    "Prior",
    "Ratings",
    "fit_population",
    "load_population",
]
