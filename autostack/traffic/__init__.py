"""What the sites of a project are asked for: counted by the proxies, gathered here, and held against a budget."""
