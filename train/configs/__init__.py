"""Training configurations, one module each; the docstring says command, hardware and figures."""
