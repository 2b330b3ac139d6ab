"""Measurements that the README quotes; each prints one table."""
