"""Control over the result: whose colours it has, which style goes where, what of the photo counts, and how much."""
