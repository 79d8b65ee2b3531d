"""Training: Lightning drives any method by manual optimisation."""
