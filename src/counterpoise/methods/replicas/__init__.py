"""Replicas of released code, with its known errors, for comparison only. They are imported only on use."""
