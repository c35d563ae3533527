"""A picture that is painted while its weights are turned: session, recipes and the panel."""
