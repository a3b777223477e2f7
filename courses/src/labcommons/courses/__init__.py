"""The course service, grading from evidence, the JupyterHub configuration."""
