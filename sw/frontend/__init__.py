"""Front ends: models of other frameworks become float networks."""
