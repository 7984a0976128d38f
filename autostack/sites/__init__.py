"""What web, workers and the proxy share about a deployed site: the object store, manifests, routes, host labels."""
