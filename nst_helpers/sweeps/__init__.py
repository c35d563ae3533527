"""Many runs at once: a grid of options and pictures, on processes, threads or a Dask cluster."""
