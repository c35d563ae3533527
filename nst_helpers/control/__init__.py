"""Control over the result: whose colours it has."""
