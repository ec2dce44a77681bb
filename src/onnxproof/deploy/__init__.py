"""A proven bundle in the forms that deployments take."""
