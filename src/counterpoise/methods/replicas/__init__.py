"""Replicas of released code, with its known errors, for comparison only. Nothing imports them until they are asked for."""
