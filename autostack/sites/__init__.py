"""What web, worker and proxy share about a deployed site: where its files are, what is in it, which host shows it."""
