"""The one error of everything that reads weights."""


class WeightsError(ValueError):
    """Weights are missing, damaged or not of this model. The message says which, and what to do."""
