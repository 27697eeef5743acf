"""The operators' console: HTML made on the server, a little JavaScript, and nothing from anywhere else."""
