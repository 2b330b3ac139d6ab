"""Smaller and faster networks: how each method trains, and what it costs and gains, measured."""
