"""Valuation: what each modality contributes, in nats, out of sample."""
