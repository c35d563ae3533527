"""Control over the result: whose colours it has, which style goes where, and parts of a picture that are found."""
